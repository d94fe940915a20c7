"""A job sent to another process, perhaps on another machine: packed, run there, and its records and files sent back.

What travels is JSON and the bytes of files, so that workers need no disk in common with the one that sends. Data do not
travel: each machine finds or fetches them once, under ``--data-dir`` as it is there.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import backends
from common.environment import describe
from common.executor import Processes
from common.jobs import Job, Terms
from common.trial import Record
from config import Trial, UserError

_LOOK_S = 1.0


class Answer(TypedDict):
    """What comes back: the records, and each trial's files by name; or why nothing could be run."""

    records: list[Record]
    files: list[dict[str, bytes]]
    refused: str | None


def pack(job: Job, terms: Terms, left_s: float) -> str:
    """Return what :func:`run_packed` needs to run a job under these terms, as JSON."""
    name = job.trials[0].backend
    return json.dumps(
        {
            "trials": [json.loads(trial.canonical()) for trial in job.trials],
            "backend": (name, backends.place(name)),
            "terms": dataclasses.asdict(terms),
            "left_s": left_s,
        }
    )


def run_packed(packed: str, given_up: Callable[[], bool] = lambda: False) -> Answer:
    """Run a job in a process of its own and in a folder of its own, which are gone afterwards.

    Parameters
    ----------
    given_up : asked every second, whether nobody wants the answer any more.
    """
    fields = json.loads(packed)
    name, place = fields["backend"]
    backends.register(name, place)  # which may be known only where the run was begun
    trials = [Trial.model_validate_json(json.dumps(one)) for one in fields["trials"]]
    terms = Terms(**fields["terms"])
    with tempfile.TemporaryDirectory(prefix="samenet-") as folder:
        directories = [Path(folder) / str(number) for number in range(len(trials))]
        processes = Processes(terms)
        try:
            _check_same(terms.environment, backends.load(place).packages)
            with _killed_when(given_up, processes):
                records = processes.run(Job(trials, directories, fresh=True), fields["left_s"])
        except UserError as error:
            return {"records": [], "files": [], "refused": str(error)}
        files = [{path.name: path.read_bytes() for path in directory.iterdir()} for directory in directories]
    return {"records": records, "files": files, "refused": None}


def _check_same(fixed: Mapping[str, Any], packages: Sequence[str]) -> None:
    """Refuse another machine or other library versions than the run's: figures of two do not mix."""
    found = describe(packages)["fixed"]
    if changed := [name for name, value in found.items() if fixed.get(name, value) != value]:
        differences = "; ".join(f"{name} is {found[name]}, not {fixed[name]}" for name in changed)
        raise UserError(f"{socket.gethostname()} is no worker for this run, as figures do not mix ({differences})")


@contextmanager
def _killed_when(given_up: Callable[[], bool], processes: Processes) -> Iterator[None]:
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            if given_up():
                processes.kill()

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def unpack(answer: Answer, directories: Sequence[Path]) -> list[Record]:
    """Write the files of an answer to the trials' directories, and return the records.

    Raises
    ------
    UserError
        Where the worker's machine could not run the job.
    """
    if answer["refused"] is not None:
        raise UserError(answer["refused"])
    for directory, files in zip(directories, answer["files"], strict=True):
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / Path(name).name).write_bytes(content)  # nowhere else, whatever a worker says
    return answer["records"]
