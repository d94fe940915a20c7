"""Who runs which trial where: ``map_trials``, worker processes, and lanes of them on this machine."""

from __future__ import annotations

import json
import math
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any, Protocol, Self

import backends
from backends.base import Runtime
from common.store import cannot_write
from common.trial import Record, empty_record, runtime
from config import Trial, UserError

_ROOT = Path(__file__).resolve().parent.parent
_START_LIMIT_S = 300.0
_GROWTH_MB = 500.0
_END_LIMIT_S = 3.0
_MEMORY_LOOK_S, _LOOK_S = 0.05, 1.0
"""How often a trial's own memory is looked at, and whatever costs more."""
_ASK_AGAIN_S = 0.5
_HEAR_S = 0.2
"""How long a wait may be: a signal that the system gives to another thread is heard only between two of them."""
_NO_MORE = object()
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

    def part(self, chosen: Sequence[bool]) -> Self:
        """Return the same with the trials that are `chosen` alone."""
        if all(chosen):
            return self
        return replace(self, trials=[*compress(self.trials, chosen)], directories=[*compress(self.directories, chosen)])


class Executor(Protocol):
    """Anything that runs jobs somewhere and yields their records as they finish."""

    def run(self, jobs: Iterator[Job | None]) -> Iterator[Record]:
        """Yield one record a trial, in any order, taking a job where there is room for it.

        None among `jobs` says that there is none at the moment, as other processes have them: ask again later.
        """
        ...


def map_trials(jobs: Iterator[Job | None], executor: Executor) -> Generator[Record, None, None]:
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


_running: set[WorkerProcess] = set()


def kill_all() -> None:
    """Kill the processes of all workers, and what they started, without waiting: this process is about to end."""
    for worker in tuple(_running):
        worker.kill()


class WorkerProcess:
    """One child process with one backend in it, in a process group of its own.

    Parameters
    ----------
    backend : a registered name.
    cores : the only ones that it may use; None for all.
    """

    def __init__(self, backend: str, settings: Runtime, cores: Collection[int] | None = None) -> None:
        place = backends.place(backend)
        read_end, write_end = os.pipe()
        self._replies, self._buffer = read_end, b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(settings.threads))}
        environment |= backends.load(place).environment(settings)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), environment.get("PYTHONPATH")]))
        self._start = time.perf_counter()
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
        _running.add(self)
        if cores is not None:
            os.sched_setaffinity(self._process.pid, cores)  # before it has threads, which inherit it
        self.startup_s: float | None = None

    def wait_ready(self) -> None:
        """Wait until the framework is imported.

        Raises
        ------
        UserError
            Where the backend cannot compute there, as on a device that is missing.
        WorkerDied
            Where it ends before.
        """
        if self.startup_s is None:
            ready = self._receive(_START_LIMIT_S)
            if "refused" in ready:
                raise UserError(ready["refused"])
            self.startup_s = time.perf_counter() - self._start

    def ask(
        self,
        request: dict[str, Any],
        limit_s: float,
        memory_limit_mb: float | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the answer.

        Parameters
        ----------
        memory_limit_mb : of resident memory, of the process and all it started together.

        Raises
        ------
        UserError
            See :meth:`wait_ready`; and where it could not write its files.
        WorkerDied
            With status ``timeout`` after `limit_s` seconds, ``out_of_memory`` where it took more than it may or the
            system killed it, ``failed`` where it ended in any other way.
        """
        self.wait_ready()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # a process that is gone is reported by the wait for its answer
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        return self._receive(limit_s, memory_limit_mb)

    def _receive(
        self,
        limit_s: float,
        memory_limit_mb: float | None = None,
    ) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        family = _Family(self._process.pid) if memory_limit_mb is not None else None
        pause = _MEMORY_LOOK_S if family else _HEAR_S
        while b"\n" not in self._buffer:
            wait = min(pause, max(0.0, deadline - time.monotonic()))
            if not select.select([self._replies], [], [], wait)[0]:
                if time.monotonic() >= deadline:
                    raise WorkerDied("timeout", f"no result after {limit_s:g} s; its process was ended")
                if family and memory_limit_mb is not None and (found := family.resident_mb()) > memory_limit_mb:
                    raise WorkerDied("out_of_memory", f"it took {found:,.0f} MB, more than the {memory_limit_mb:,.0f} "
                                     "MB of --memory-limit; its process was ended")  # fmt: skip
                continue
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
        """End the process and all it started, from any thread; the one that waits for its answer sees it die."""
        if self._process.returncode is None:  # its number may be another's otherwise
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and all it started, and give back its pipes."""
        _running.discard(self)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._replies)
        self._log.close()


class _Family:
    """The memory of a process and of all it started, looked at often."""

    def __init__(self, pid: int) -> None:
        import psutil

        self._process, self._children = psutil.Process(pid), list[psutil.Process]()
        self._searched = 0.0

    def resident_mb(self) -> float:
        """Return the resident size of all in MB; 0 where they are gone."""
        import psutil

        if time.monotonic() - self._searched > _LOOK_S:  # a search of all processes, which costs more than a look
            self._searched = time.monotonic()
            with suppress(psutil.Error):
                self._children = self._process.children(recursive=True)
        total = 0.0
        for process in (self._process, *self._children):
            with suppress(psutil.Error):
                total += process.memory_info().rss / 1e6
        return total


@dataclass(frozen=True)
class Terms:
    """What holds for every trial of a run, wherever it is run.

    Attributes
    ----------
    timeout_s : seconds a trial may take; None for no limit.
    memory_limit_mb : resident MB that a trial's process may take; None for no limit.
    isolate : give every trial a process of its own.
    sources : where workers find each data set: a name and what :func:`common.data.load` takes for it.
    data_dir : the folder of data sets.
    environment : what another machine must have in common with this one, ``fixed`` of
        :func:`common.environment.describe`.
    """

    timeout_s: float | None = None
    memory_limit_mb: float | None = None
    isolate: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    data_dir: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)


class JobRunner(Protocol):
    """Runs one job after the other, in one place."""

    def run(self, job: Job, left_s: float) -> list[Record]:
        """Return the records of a job's trials, whose artefacts are in its directories.

        Parameters
        ----------
        left_s : seconds until the run is over.
        """
        ...

    def kill(self) -> None:
        """End the job at work, from another thread."""
        ...

    def close(self) -> None:
        """Give back all that it holds; no job is at work."""
        ...


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
        keep = False
        try:
            if self._killed:  # before it could be seen
                raise WorkerDied("failed", "the run was ended")
            worker.wait_ready()
            records = self._ask(worker, job, alone, left_s)
            keep = not (alone or self._spent(worker, place, records))
        except WorkerDied as death:
            return [{**empty_record(trial), "status": death.status, "error": str(death)} for trial in job.trials]
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

    def _ask(self, worker: WorkerProcess, job: Job, alone: bool, left_s: float) -> list[Record]:
        dataset = job.trials[0].dataset
        request = {
            "trials": [json.loads(trial.canonical()) for trial in job.trials],
            "directories": [str(directory) for directory in job.directories],
            "source": self._terms.sources.get(dataset, dataset),
            "data_dir": self._terms.data_dir,
        }
        together = len(job.trials)
        limit_s = math.inf if self._terms.timeout_s is None else self._terms.timeout_s * together
        start = time.perf_counter()
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


def cut_records(job: Job) -> list[Record]:
    """Return the records of trials that the end of the run's time ended: the same command runs them again."""
    reason = "the time of --max-time was over; its process was ended, and the same command runs it again"
    return [{**empty_record(trial), "status": "timeout", "error": reason, "unfinished": True} for trial in job.trials]


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


def side_by_side(
    jobs: Iterator[Job | None], runners: Sequence[JobRunner], until: float | None, contended: bool
) -> Iterator[Record]:
    """Run jobs, one at a time in each of `runners`, and yield the records; ending the iteration early ends all.

    Parameters
    ----------
    until : when no further job is taken, by ``time.monotonic``.
    contended : whether one trial's work may slow another's down.
    """
    finished = queue.Queue[Record | BaseException | None]()
    taken = _Taken(jobs)
    lanes = [_Lane(runner, taken, finished, until, alone=len(runners) == 1) for runner in runners]
    at_work = len(lanes)
    try:
        for lane in lanes:
            lane.start()
        while at_work:
            try:
                result = finished.get(timeout=_HEAR_S)
            except queue.Empty:
                continue
            if isinstance(result, BaseException):
                raise result
            if result is None:
                at_work -= 1
            else:
                yield {**result, "contended": contended or result["batched"] is not None}
            finished.task_done()
    finally:
        for lane in lanes:
            lane.stop()
        for _ in range(finished.unfinished_tasks):  # which a lane may be waiting for
            finished.task_done()
        deadline = time.monotonic() + _END_LIMIT_S
        for lane in lanes:
            lane.join(max(0.0, deadline - time.monotonic()))


class _Taken:
    """Jobs that several threads take from one iterator."""

    def __init__(self, jobs: Iterator[Job | None]) -> None:
        self._jobs, self._lock = jobs, threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Job | None:
        with self._lock:
            return next(self._jobs)


class _Lane(threading.Thread):
    """Takes jobs one at a time, while there is time, and gives them to its runner."""

    def __init__(
        self,
        runner: JobRunner,
        jobs: Iterator[Job | None],
        finished: queue.Queue[Any],
        until: float | None,
        alone: bool,
    ) -> None:
        super().__init__(daemon=True)
        self._runner, self._jobs, self._finished, self._until, self._alone = runner, jobs, finished, until, alone
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            while not self._ended.is_set() and (left_s := self._left_s()) > 0:
                job = next(self._jobs, _NO_MORE)
                if job is _NO_MORE:
                    return
                if isinstance(job, Job):
                    for record in self._runner.run(job, left_s):
                        self._finished.put(record)
                    if self._alone and not self._ended.is_set():
                        self._finished.join()  # what becomes of a record takes no time from the next trial
                else:
                    self._ended.wait(_ASK_AGAIN_S)
        except BaseException as error:  # raised again where the records are read
            self._finished.put(error)
        finally:
            self._runner.close()
            self._finished.put(None)

    def _left_s(self) -> float:
        return math.inf if self._until is None else self._until - time.monotonic()

    def stop(self) -> None:
        """End it: the job at work is killed, no further one is taken."""
        self._ended.set()
        self._runner.kill()


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
