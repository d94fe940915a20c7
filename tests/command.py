"""The command line as tests use it: called in this process or in one of its own, with fakes registered."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import compare
from tests.fake_backend import FAULTS, registered

ROOT = Path(__file__).parent.parent
SCRIPT = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what nohup started, this
import compare
from tests.fake_backend import registered
with registered():
    raise SystemExit(compare.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Outcome:
    """What a command line ended with."""

    status: int
    out: str
    err: str


def call(*argv: object, report: bool = False) -> Outcome:
    """Call compare.main in this process; a run makes no plots and no page unless they are asked for."""
    if not report and str(argv[0] if argv else "-").startswith("-"):
        argv = (*argv, "--no-report")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), registered():
        try:
            status = compare.main([str(argument) for argument in argv])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return Outcome(status, out.getvalue(), err.getvalue())


def started(*argv: object, faults: Mapping[str, str], mark: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own; `mark` is in its environment and that of its workers."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, argv), "--no-report"],
        cwd=ROOT,
        env={**os.environ, FAULTS: json.dumps(dict(faults)), "FAKE_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def study(folder: Path, **fields: Any) -> Path:
    """Write a study file: the fake on 300 digits for 2 epochs, and whatever else is given."""
    base = {"backend": "fake", "dataset": "digits", "rows": 300, "seeds": 1}
    training = {"epochs": 2, "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.5, **fields.pop("training", {})}
    grids, question = fields.pop("grids", [{}]), fields.pop("question", "What breaks?")
    whole = {"question": question, "base": {**base, **fields, "training": training}, "grids": grids}
    path = folder / "fakes.json"
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


def the_run(results: Path) -> Path:
    """Return the directory of the only run there is."""
    (found,) = results.iterdir()
    return found


def record_paths(results: Path) -> list[Path]:
    """Return the paths of all records, of all runs."""
    return sorted(results.glob("*/trials/??/*.json"))


def records(results: Path) -> list[dict[str, Any]]:
    """Return all records, of all runs."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in record_paths(results)]


def workers_of_this_process() -> list[psutil.Process]:
    """Return the worker processes that this process has started and not ended."""
    return [child for child in psutil.Process().children(recursive=True) if _is_worker(child)]


def marked(mark: str) -> list[psutil.Process]:
    """Return all processes with `mark` in their environment that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("FAKE_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def workers_marked(mark: str) -> list[psutil.Process]:
    """Return the worker processes with `mark` in their environment, whoever their parent is by now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _is_worker(process) and process.environ().get("FAKE_MARK") == mark:
                found.append(process)
    return found


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "common.worker" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def assert_said_in_one_line(status: int, out: str, err: str, expected: tuple[str, ...]) -> None:
    """Assert that a command ended with one readable line, which has the `expected` parts, and nothing else."""
    assert (status, out) == (2, ""), err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("compare.py: ")
    for text in expected:
        assert text in err
    assert "Traceback" not in err
