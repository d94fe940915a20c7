"""Trials on a Dask cluster: one that runs already, or one of this machine's started for the run."""

from __future__ import annotations

import logging
import math
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from common.jobs import Job, Terms, cut_records
from common.lanes import side_by_side
from common.remote import Answer, pack, run_packed, unpack
from common.trial import Record, empty_record
from config import UserError

_CONNECT_S = 10.0
_GRACE_S = 5.0
_GIVEN_UP = ("cancelled", "released", "forgotten")


@dataclass
class DaskExecutor:
    """One trial at a time in each thread of a cluster's workers, each in a process of its own that can be killed.

    Attributes
    ----------
    workers : of the cluster that is started where `scheduler` names none; it listens on 127.0.0.1 alone.
    scheduler : the address of a running cluster's scheduler.
    until : when the run is over, by ``time.monotonic``; None for no limit.
    """

    terms: Terms
    workers: int = 1
    scheduler: str | None = None
    until: float | None = None

    def run(self, jobs: Iterator[Job | None]) -> Iterator[Record]:
        """Yield records as trials finish; ending the iteration early ends their processes."""
        with self._connected() as client:
            found = client.scheduler_info(n_workers=-1)["workers"].values()
            threads = sum(worker["nthreads"] for worker in found)
            declared = {name for worker in found for name in worker["resources"]}
            lanes = [_Lane(client, self.terms, declared) for _ in range(threads)]
            yield from side_by_side(jobs, lanes, self.until, contended=True)  # what runs beside them is not known

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Connect to the cluster's scheduler, and wait until it has a worker."""
        import distributed

        start: Any = distributed.LocalCluster
        connect: Any = distributed.Client
        for name in ("distributed", "distributed.client"):  # the latter has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what concerns the run is said by the run
        with ExitStack() as stack:
            try:
                address: Any = self.scheduler or stack.enter_context(
                    start(
                        n_workers=self.workers,
                        threads_per_worker=1,
                        host="127.0.0.1",
                        dashboard_address=None,
                        memory_limit=None,  # trials have their own
                        silence_logs=logging.CRITICAL,
                    )
                )
                client = stack.enter_context(connect(address, timeout=_CONNECT_S, set_as_default=False))
                client.wait_for_workers(1, timeout=_CONNECT_S)
            except (OSError, ValueError) as error:  # a TimeoutError is an OSError
                where = f"no Dask scheduler with a worker answers at {self.scheduler or '127.0.0.1'}"
                raise UserError(f"scheduler: {where} ({error}); give the address that dask scheduler printed, such as "
                                "tcp://127.0.0.1:8786") from error  # fmt: skip
            yield client


class _Lane:
    """Has one job at a time run by the cluster."""

    def __init__(self, client: Any, terms: Terms, declared: set[str]) -> None:
        self._client, self._terms, self._declared = client, terms, declared
        self._future: Any = None

    def run(self, job: Job, left_s: float) -> list[Record]:
        from distributed import KilledWorker

        self._future = self._client.submit(
            _on_worker,
            pack(job, self._terms, left_s),
            key=f"samenet-{uuid.uuid4().hex}",
            pure=False,
            resources=self._resources(job),
        )
        try:
            answer = self._future.result(timeout=None if left_s == math.inf else left_s + _GRACE_S)
        except TimeoutError:  # it waits for a worker, or its worker is busy with others
            self._future.cancel()
            return cut_records(job)
        except KilledWorker as error:
            reason = f"the Dask worker that ran it died, and so did those that tried again: {error}"
            return [{**empty_record(trial), "status": "failed", "error": reason} for trial in job.trials]
        except ImportError as error:
            raise UserError(f"a Dask worker has no samenet ({error}); start each in samenet's folder") from error
        except (CancelledError, OSError) as error:
            raise UserError(f"the Dask scheduler is gone ({type(error).__name__}); what is finished stays, and the same "
                            "command goes on with a running one") from error  # fmt: skip
        finally:
            self._future = None
        return unpack(answer, job.directories)

    def _resources(self, job: Job) -> dict[str, float]:
        """Return what the job needs of those resources that any worker declares: of others it would wait for ever."""
        needs: dict[str, float] = {}
        if job.trials[0].device != "cpu":
            needs["GPU"] = 1
        if self._terms.memory_limit_mb is not None:
            needs["MEMORY"] = self._terms.memory_limit_mb * 1e6
        return {name: amount for name, amount in needs.items() if name in self._declared}

    def kill(self) -> None:
        if (future := self._future) is not None:
            future.cancel()

    def close(self) -> None:
        """Nothing is held between jobs."""


def _on_worker(packed: str) -> Answer:
    """Run a packed job in a Dask worker, and end its process when the cluster has been told to forget it."""
    from distributed import get_worker

    # Dask has its workers give every freed array back to the system; a trial's process, which reads this as it starts,
    # would spend half its time on getting the pages again
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
    worker = get_worker()
    key = worker.get_current_task()

    def given_up() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state in _GIVEN_UP

    return run_packed(packed, given_up)
