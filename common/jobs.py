"""What is to be run and the one seam to where it runs: jobs, their terms, ``map_trials``, and what an executor is."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any, Protocol, Self

from common.trial import Record, empty_record
from config import Trial


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


def cut_records(job: Job) -> list[Record]:
    """Return the records of trials that the end of the run's time ended: the same command runs them again."""
    reason = "the time of --max-time was over; its process was ended, and the same command runs it again"
    return [{**empty_record(trial), "status": "timeout", "error": reason, "unfinished": True} for trial in job.trials]
