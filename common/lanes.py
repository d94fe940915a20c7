"""Jobs side by side: lanes, each a thread that gives one job after the other to its runner."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

from common.jobs import Job, JobRunner
from common.process import HEAR_S
from common.trial import Record

_END_LIMIT_S = 3.0
_ASK_AGAIN_S = 0.5
_NO_MORE = object()


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
                result = finished.get(timeout=HEAR_S)
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
