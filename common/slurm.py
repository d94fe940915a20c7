"""Trials on a SLURM cluster, through submitit: arrays of jobs, each of which runs one trial or those trained together."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.jobs import Job, Terms, cut_records
from common.remote import pack, run_packed, unpack
from common.trial import Record, empty_record
from config import UserError

_ROOT = Path(__file__).resolve().parent.parent
_ARRAY = 1000
"""Jobs of one array; SLURM's own limit, MaxArraySize, is 1001 unless changed."""
_DAY_S = 86_400.0
_START_S = 300.0
_POLL_S = 1.0
_STATUSES = {"TIMEOUT": "timeout", "OUT_OF_MEMORY": "out_of_memory"}


@dataclass
class SlurmExecutor:
    """One array of SLURM jobs after the other; partition and account come from ``SBATCH_PARTITION`` and its like.

    Attributes
    ----------
    workers : jobs of an array that run at once.
    until : when the run is over, by ``time.monotonic``; None for no limit.
    cluster : submitit's name of who runs the jobs: ``slurm``, or ``local`` for processes of this machine.
    """

    terms: Terms
    workers: int = 1
    until: float | None = None
    cluster: str = "slurm"

    def run(self, jobs: Iterator[Job | None]) -> Iterator[Record]:
        """Yield records as jobs finish; ending the iteration early cancels the others."""
        while self._left_s() > 0 and (array := self._next_array(jobs)):
            waiting = dict(zip(self._submit(array), array, strict=True))
            try:
                while waiting and self._left_s() > 0:
                    for handle in [handle for handle in waiting if handle.done()]:
                        yield from map(_beside_others, _records(handle, waiting.pop(handle)))
                    time.sleep(_POLL_S if waiting else 0)
                for job in waiting.values():
                    yield from map(_beside_others, cut_records(job))
            finally:
                for handle in waiting:
                    handle.cancel(check=False)

    def _left_s(self) -> float:
        return math.inf if self.until is None else self.until - time.monotonic()

    def _next_array(self, jobs: Iterator[Job | None]) -> list[Job]:
        """Return the jobs that are to be had now; none where there are none left."""
        found: list[Job] = []
        for job in jobs:
            if job is not None:
                found.append(job)
            elif found:
                break
            else:
                time.sleep(_POLL_S)
            if len(found) == _ARRAY or self._left_s() <= 0:
                break
        return found

    def _submit(self, array: Sequence[Job]) -> list[Any]:
        import submitit

        try:
            executor = submitit.AutoExecutor(folder=_folder(), cluster=self.cluster)
        except RuntimeError as error:
            raise UserError(f"executor: slurm needs sbatch and srun, which are not here ({error})") from error
        executor.update_parameters(**asked(self.terms, array, self.workers))
        submitted: list[Any] = executor.map_array(run_packed, [pack(job, self.terms, math.inf) for job in array])
        return submitted


def _beside_others(record: Record) -> Record:
    return {**record, "contended": True}  # what else runs on a node is not known


def _records(handle: Any, job: Job) -> list[Record]:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        return unpack(handle.result(), job.directories)
    except (FailedJobError, UncompletedJobError) as error:
        status = _STATUSES.get(handle.state, "failed")
        reason = f"SLURM job {handle.job_id} ended as {handle.state}: {error}"
        return [{**empty_record(trial), "status": status, "error": reason} for trial in job.trials]


def asked(terms: Terms, array: Sequence[Job], workers: int) -> dict[str, Any]:
    """Return what is asked of SLURM for an array of jobs, in submitit's names: what the largest of them needs."""
    trials = [trial for job in array for trial in job.trials]
    together = max(len(job.trials) for job in array)
    seconds = _DAY_S if terms.timeout_s is None else terms.timeout_s * together + _START_S
    found: dict[str, Any] = {
        "name": "samenet",
        "timeout_min": math.ceil(seconds / 60),
        "cpus_per_task": max(trial.threads for trial in trials),
        "slurm_array_parallelism": workers,
        "slurm_setup": [f'export PYTHONPATH="{_ROOT}:$PYTHONPATH"'],
    }
    if terms.memory_limit_mb is not None:
        found["mem_gb"] = math.ceil(terms.memory_limit_mb / 1000) + 1  # of the job's own process
    if any(trial.device != "cpu" for trial in trials):
        found["gpus_per_node"] = 1
    return found


def script(terms: Terms, array: Sequence[Job], workers: int) -> str:
    """Return the batch script that SLURM would be given for the first array; SLURM need not be here."""
    import submitit

    class Printed(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 1  # as if SLURM were here

    array = array[:_ARRAY]
    executor = Printed(_folder())
    parameters = {name.removeprefix("slurm_"): value for name, value in asked(terms, array, workers).items()}
    executor.update_parameters(**executor._convert_parameters(parameters))
    executor.parameters["map_count"] = len(array)
    return str(executor._make_submission_file_text(executor._submitit_command_str, "")).rstrip()


def _folder() -> Path:
    """Return where submitit keeps its files, pickles among them: of this user alone, and never in a results folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "samenet" / "slurm"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "%j"
