"""Worker processes: one with a backend in it is started, asked, watched and ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import backends
from backends.base import Runtime
from config import UserError

_ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 300.0
HEAR_S = 0.2
"""How long a wait may be: a signal that the system gives to another thread is heard only between two of them."""
_MEMORY_LOOK_S, _LOOK_S = 0.05, 1.0
"""How often a trial's own memory is looked at, and whatever costs more."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


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
            ready = self._receive(START_LIMIT_S)
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
        pause = _MEMORY_LOOK_S if family else HEAR_S
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
