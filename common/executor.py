"""Jobs in processes of this machine, which stay warm between trials."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from backends.base import Runtime
from common.jobs import Job, Terms, cut_records
from common.lanes import side_by_side
from common.process import WorkerDied, WorkerProcess
from common.store import cannot_write
from common.trial import Record, empty_record, runtime
from config import UserError

_GROWTH_MB = 500.0
_TIMED = ("data_s", "build_s", "first_step_s", "fit_s", "evaluate_s", "save_s")


class Processes:
    """Runs jobs in processes of this machine, and keeps a warm one for each backend and runtime.

    Parameters
    ----------
    cores : those that its processes may use; None for all.
    """

    def __init__(self, terms: Terms, cores: Collection[int] | None = None) -> None:
        self._terms, self._cores = terms, cores
        self._warm: dict[tuple[str, Runtime], WorkerProcess] = {}
        self._first_mb: dict[tuple[str, Runtime], float] = {}
        self._current: WorkerProcess | None = None
        self._killed = False

    def run(self, job: Job, left_s: float) -> list[Record]:
        """Return the records of a job's trials, see :meth:`JobRunner.run`."""
        alone = job.fresh or self._terms.isolate
        place = (job.trials[0].backend, runtime(job.trials[0]))
        for directory in job.directories:
            try:
                directory.mkdir(parents=True)
            except OSError as error:
                raise cannot_write(error, directory) from error
        worker = (None if alone else self._warm.pop(place, None)) or self._started(*place)
        self._current = worker
        keep, start = False, None
        try:
            if self._killed:  # before it could be seen
                raise WorkerDied("failed", "the run was ended")
            worker.wait_ready()
            start = time.perf_counter()
            records = self._ask(worker, job, alone, left_s, start)
            keep = not (alone or self._spent(worker, place, records))
        except WorkerDied as death:
            seconds = None if start is None else (time.perf_counter() - start) / len(job.trials)
            died = {"status": death.status, "error": str(death), "trial_s": seconds}
            return [{**empty_record(trial), **died} for trial in job.trials]
        except _Cut:
            return cut_records(job)
        finally:
            self._current = None
            if keep:
                self._warm[place] = worker
            else:
                worker.close()
        return records

    def _started(self, place: str, settings: Runtime) -> WorkerProcess:
        try:
            return WorkerProcess(place, settings, self._cores)
        except OSError as error:
            raise UserError(f"no process can be started for a trial ({error})") from error

    def _ask(self, worker: WorkerProcess, job: Job, alone: bool, left_s: float, start: float) -> list[Record]:
        dataset = job.trials[0].dataset
        request = {
            "trials": [json.loads(trial.canonical()) for trial in job.trials],
            "directories": [str(directory) for directory in job.directories],
            "source": self._terms.sources.get(dataset, dataset),
            "data_dir": self._terms.data_dir,
        }
        together = len(job.trials)
        limit_s = math.inf if self._terms.timeout_s is None else self._terms.timeout_s * together
        try:
            answer = worker.ask(request, min(limit_s, left_s), self._terms.memory_limit_mb)
        except WorkerDied as death:
            if death.status == "timeout" and left_s < limit_s:
                raise _Cut from death
            raise
        if "unwritable" in answer:
            raise UserError(answer["unwritable"])
        seconds = time.perf_counter() - start
        records: list[Record] = answer["records"]
        for record in records:
            record |= {"trial_s": seconds / together, "startup_s": worker.startup_s}
            if not alone:
                record |= dict.fromkeys(("idle_memory_mb", "peak_memory_mb", "memory_rise_mb", "memory_method"))
            if record["status"] == "ok" and record["batched"] is None:
                record["harness_s"] = record["trial_s"] - sum(record[name] for name in _TIMED)
        return records

    def _spent(self, worker: WorkerProcess, place: tuple[str, Runtime], records: Sequence[Record]) -> bool:
        """Say whether a process should run no further trial: it failed, or what it keeps in memory has grown."""
        import psutil

        try:
            resident = worker.resident_mb()
        except psutil.Error:  # it ended after its answer
            return True
        grown = resident - self._first_mb.setdefault(place, resident) > _GROWTH_MB
        return grown or any(record["status"] != "ok" for record in records)

    def kill(self) -> None:
        """End the process at work; the thread that waits for it closes it."""
        self._killed = True
        if (worker := self._current) is not None:
            worker.kill()

    def close(self) -> None:
        """End all processes that wait for a job."""
        while self._warm:
            self._warm.popitem()[1].close()


class _Cut(Exception):
    """The run was over before the trial was."""


@dataclass
class LocalExecutor:
    """Worker processes on this machine, one for each backend and runtime in each of `workers` lanes.

    Attributes
    ----------
    workers : lanes that run side by side, on cores of their own; with more than one, every record is marked contended.
    until : when the run is over, by ``time.monotonic``; None for no limit.
    """

    terms: Terms
    workers: int = 1
    until: float | None = None

    def run(self, jobs: Iterator[Job | None]) -> Iterator[Record]:
        """Yield records as trials finish; ending the iteration early ends the processes."""
        lanes = [Processes(self.terms, cores) for cores in shares_of_cores(self.workers)]
        yield from side_by_side(jobs, lanes, self.until, contended=self.workers > 1)


def shares_of_cores(lanes: int) -> list[Collection[int] | None]:
    """Return the cores of each lane: their own where there are enough, None where all use all."""
    if lanes == 1 or not hasattr(os, "sched_getaffinity"):
        return [None] * lanes
    cores = sorted(os.sched_getaffinity(0))
    if lanes > len(cores):
        return [None] * lanes
    return [cores[lane * len(cores) // lanes : (lane + 1) * len(cores) // lanes] for lane in range(lanes)]
