"""Who runs which trial where: ``map_trials`` over worker processes on this machine."""

from __future__ import annotations

import itertools
import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import backends
from backends.base import Runtime
from common.trial import Record, empty_record, runtime
from config import Trial, UserError

_ROOT = Path(__file__).resolve().parent.parent
_START_LIMIT_S = 300.0
_GROWTH_MB = 500.0
_END_LIMIT_S = 1.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_TIMED = ("data_s", "build_s", "first_step_s", "fit_s", "evaluate_s", "save_s")


@dataclass(frozen=True)
class Job:
    """Trials to run, one or several that are trained together, all of one backend and runtime.

    Attributes
    ----------
    directories : where the artefacts of each go.
    fresh : whether it needs a process that has run nothing before.
    """

    trials: Sequence[Trial]
    directories: Sequence[Path]
    fresh: bool = False


class Executor(Protocol):
    """Anything that runs jobs somewhere and yields their records as they finish."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Record]:
        """Yield one record a trial, in any order."""
        ...


def map_trials(jobs: Sequence[Job], executor: Executor) -> Iterator[Record]:
    """Run `jobs` on `executor`: the one seam between what is to be run and where.

    Yields
    ------
    One record a trial, as they finish; a trial's failure is in its record, never raised.
    """
    yield from executor.run(jobs)


class WorkerDied(Exception):
    """A worker ended or fell silent; `status` is what the record says of it."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class WorkerProcess:
    """One child process with one backend in it, in a process group of its own."""

    def __init__(self, backend: str, settings: Runtime) -> None:
        place = backends.place(backend)
        read_end, write_end = os.pipe()
        self._replies, self._buffer = read_end, b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(settings.threads))}
        environment |= backends.load(place).environment(settings)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), environment.get("PYTHONPATH")]))
        start = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "common.worker", place, json.dumps(asdict(settings)), str(write_end)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[write_end],
            env=environment,
            start_new_session=True,
        )
        os.close(write_end)
        try:
            ready = self._receive(_START_LIMIT_S)
            if "refused" in ready:
                raise UserError(ready["refused"])
        except (WorkerDied, UserError):
            self.close()
            raise
        self.startup_s = time.perf_counter() - start

    def ask(self, request: dict[str, Any], limit_s: float | None) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises
        ------
        WorkerDied
            With status ``timeout`` after `limit_s` seconds, ``out_of_memory`` where the system killed the process,
            ``failed`` where it ended in any other way.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # a process that is gone is reported by the wait for its answer
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        return self._receive(limit_s)

    def _receive(self, limit_s: float | None) -> dict[str, Any]:
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._replies], [], [], remaining)[0]:
                raise WorkerDied("timeout", f"no result after {limit_s:g} s; its process was ended")
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                raise self._death()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _death(self) -> WorkerDied:
        code = self._process.wait()
        self._log.seek(0)
        tail = self._log.read().decode(errors="replace")[-2000:].strip()
        if code == -signal.SIGKILL:
            return WorkerDied(
                "out_of_memory", f"its process was killed by the system (SIGKILL), as for lack of memory\n{tail}"
            )
        name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        last = f"; the last it printed: {tail.splitlines()[-1]}\n{tail}" if tail else ""
        return WorkerDied("failed", f"its process ended with {name}{last}")

    def resident_mb(self) -> float:
        """Return the process's resident size in MB."""
        import psutil

        return float(psutil.Process(self._process.pid).memory_info().rss / 1e6)

    def kill(self) -> None:
        """End the process, from any thread; the one that waits for its answer sees it die."""
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """End the process and all it started, and give back its pipes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._replies)
        self._log.close()


@dataclass
class LocalExecutor:
    """Worker processes on this machine, one for each backend and runtime in each of `workers` lanes.

    Attributes
    ----------
    workers : lanes that run side by side; with more than one, every record is marked contended.
    timeout_s : seconds a trial may take; None for no limit.
    isolate : give every trial a process of its own.
    sources : where workers find each data set: a name and what :func:`common.data.load` takes for it.
    data_dir : the folder of data sets.

    Notes
    -----
    As a context manager it keeps its processes from one call of :meth:`run` to the next.
    """

    workers: int = 1
    timeout_s: float | None = None
    isolate: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    data_dir: str | None = None
    _lanes: list[_Lane] = field(default_factory=list)
    _warm: list[_Warm] | None = None

    def __enter__(self) -> Self:
        self._warm = [_Warm() for _ in range(self.workers)]
        return self

    def __exit__(self, *_: object) -> None:
        for warm in self._warm or ():
            warm.close()
        self._warm = None

    def run(self, jobs: Sequence[Job]) -> Iterator[Record]:
        """Yield records as trials finish; ending the iteration early ends the processes."""
        if self._warm is None:
            with self:
                yield from self.run(jobs)
            return
        waiting, finished = deque(jobs), queue.Queue[Record | BaseException]()
        self._lanes = [_Lane(self, warm, waiting, finished) for warm in self._warm[: len(jobs)]]
        try:
            for lane in self._lanes:
                lane.start()
            for _ in itertools.chain(*(job.trials for job in jobs)):
                result = finished.get()
                if isinstance(result, BaseException):
                    raise result
                yield {**result, "contended": self.workers > 1 or result["batched"] is not None}
                finished.task_done()
        finally:
            waiting.clear()
            for _ in range(finished.unfinished_tasks):
                finished.task_done()
            for lane in self._lanes:
                lane.end()


@dataclass
class _Warm:
    """A process for each backend and runtime that a lane has had, and what each kept in memory at first."""

    processes: dict[tuple[str, Runtime], WorkerProcess] = field(default_factory=dict)
    first_mb: dict[tuple[str, Runtime], float] = field(default_factory=dict)

    def close(self) -> None:
        for worker in self.processes.values():
            worker.close()
        self.processes.clear()


class _Lane(threading.Thread):
    """Takes jobs one at a time, keeping a warm process for each backend and runtime."""

    def __init__(self, executor: LocalExecutor, warm: _Warm, waiting: deque[Job], finished: queue.Queue[Any]) -> None:
        super().__init__(daemon=True)
        self._executor, self._waiting, self._finished = executor, waiting, finished
        self._warm = warm
        self._current: WorkerProcess | None = None
        self._ended = False

    def run(self) -> None:
        while self._waiting and not self._ended:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            try:
                for record in self._run(job):
                    self._finished.put(record)
                if self._executor.workers == 1:
                    self._finished.join()  # what becomes of a record takes no time from the next trial
            except BaseException as error:  # raised again where the records are read
                self._finished.put(error)
                return

    def _run(self, job: Job) -> list[Record]:
        alone = job.fresh or self._executor.isolate
        place = (job.trials[0].backend, runtime(job.trials[0]))
        worker: WorkerProcess | None = None
        for directory in job.directories:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        try:
            worker = (None if alone else self._warm.processes.pop(place, None)) or WorkerProcess(*place)
            self._current = worker
            if self._ended:  # while it started, when it could not be seen yet
                raise WorkerDied("failed", "the run was ended")
            records = self._ask(worker, job, alone)
        except WorkerDied as death:
            if worker is not None:
                worker.close()
            return [{**empty_record(trial), "status": death.status, "error": str(death)} for trial in job.trials]
        if alone or self._spent(worker, place, records):
            worker.close()
        else:
            self._warm.processes[place] = worker
        self._current = None
        return records

    def _ask(self, worker: WorkerProcess, job: Job, alone: bool) -> list[Record]:
        dataset = job.trials[0].dataset
        request = {
            "trials": [json.loads(trial.canonical()) for trial in job.trials],
            "directories": [str(directory) for directory in job.directories],
            "source": self._executor.sources.get(dataset, dataset),
            "data_dir": self._executor.data_dir,
        }
        limit_s, together = self._executor.timeout_s, len(job.trials)
        start = time.perf_counter()
        records: list[Record] = worker.ask(request, None if limit_s is None else limit_s * together)["records"]
        seconds = time.perf_counter() - start
        for record in records:
            record |= {"trial_s": seconds / together, "startup_s": worker.startup_s}
            if not alone:
                record |= dict.fromkeys(("idle_memory_mb", "peak_memory_mb", "memory_rise_mb", "memory_method"))
            if record["status"] == "ok" and record["batched"] is None:
                record["harness_s"] = record["trial_s"] - sum(record[name] for name in _TIMED)
        return records

    def _spent(self, worker: WorkerProcess, place: tuple[str, Runtime], records: Sequence[Record]) -> bool:
        """Say whether a process should run no further trial: it failed, or what it keeps in memory has grown."""
        resident = worker.resident_mb()
        grown = resident - self._warm.first_mb.setdefault(place, resident) > _GROWTH_MB
        return grown or any(record["status"] != "ok" for record in records)

    def end(self) -> None:
        """End all processes; the one at work is killed, and closed by the thread that waits for it."""
        self._ended = True
        if self._current is not None:
            self._current.kill()
        if self.is_alive():
            self.join(_END_LIMIT_S)


class Profiler:
    """Builds networks in processes that train nothing, one for each backend and runtime; a context manager."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, Runtime], WorkerProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def layers(self, trial: Trial, input_shape: tuple[int, ...], classes: int) -> list[dict[str, Any]]:
        """Return a network's layers as its backend counts them.

        Raises
        ------
        UserError
            Where the backend cannot build the network.
        """
        way = trial.backend, runtime(trial)
        if way not in self._workers:
            self._workers[way] = WorkerProcess(*way)
        request = {"trial": json.loads(trial.canonical()), "input_shape": list(input_shape), "classes": classes}
        try:
            answer = self._workers[way].ask({"profile": request}, _START_LIMIT_S)
        except WorkerDied as death:
            raise UserError(f"{trial.backend} could not build {trial.architecture.label}: {death}") from death
        if "refused" in answer:
            raise UserError(f"{trial.backend} could not build {trial.architecture.label}: {answer['refused']}")
        layers: list[dict[str, Any]] = answer["layers"]
        return layers
