"""A run: what is left of a plan is run, recorded and tabulated."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import backends
from backends.base import needs
from common import optional
from common.environment import describe, in_record
from common.executor import LocalExecutor
from common.inputs import cut, input_shape
from common.jobs import Executor, Job, Terms, map_trials
from common.many import together
from common.ownership import Claims, at_work
from common.process import kill_all
from common.profiler import Profiler
from common.progress import Progress, line
from common.signals import ending
from common.store import SETTLED, Run, cannot_write
from common.studies import Plan
from common.tracking import Tracking, check_installed
from common.trial import Record, empty_record
from config import Trial, UserError

EXECUTORS = {"local": (), "dask": ("distributed",), "slurm": ("submitit",)}
"""Where trials can be run, and what each of them imports."""


@dataclass(frozen=True)
class Options:
    """How a plan is run, apart from what it holds."""

    results: Path
    data_dir: str | None = None
    workers: int = 1
    executor: str = "local"
    scheduler: str | None = None
    timeout_s: float | None = None
    memory_limit_mb: float | None = None
    max_time_s: float | None = None
    isolate: bool = False
    batch_trials: int = 1
    retry_failed: bool = False
    overwrite: bool = False
    track: Sequence[str] = ()
    quiet: bool = False


def kept(plan: Plan, options: Options) -> dict[str, Record]:
    """Return the records that are there already and stay, by key."""
    if options.overwrite:
        return {}
    return {key: record for key, record in _found(plan, options).items() if _stays(record, options)}


def _found(plan: Plan, options: Options) -> dict[str, Record]:
    return {record["key"]: record for record in Run(options.results / plan.run_name).records(plan.keys)}


def _stays(record: Record, options: Options) -> bool:
    if record.get("unfinished"):  # --max-time was over before the trial was
        return False
    return not options.retry_failed or record["status"] in SETTLED


def unfinished(plan: Plan, records: Container[str]) -> list[Trial]:
    """Return the plan's trials whose keys are not in `records`."""
    return [trial for trial, key in zip(plan.trials, plan.keys, strict=True) if key not in records]


def execute(plan: Plan, options: Options) -> tuple[Run, list[Record]]:
    """Run what is left of `plan`; what is finished is never run again, and what another process runs is left to it.

    Returns
    -------
    The run, and a record for each trial, but for those that ``--max-time`` left no time for.

    Raises
    ------
    UserError
        Where a tracker or what a cluster needs is not installed, an architecture's options make no network, the run's directory was begun on
        another machine or with other library versions, or nothing can be written there.
    """
    check_installed(options.track)
    optional.check_installed(f"executor: {options.executor}", EXECUTORS[options.executor], "requirements-scale.txt")
    with ending(at_once=kill_all):
        return _execute(plan, options)


def _execute(plan: Plan, options: Options) -> tuple[Run, list[Record]]:
    until = None if options.max_time_s is None else time.monotonic() + options.max_time_s
    run = Run(options.results / plan.run_name)
    names = {trial.backend for trial in plan.trials}
    packages = [package for name in names for package in backends.load(name).packages]
    found = {} if options.overwrite else _found(plan, options)
    records = {key: record for key, record in found.items() if _stays(record, options)}
    todo = unfinished(plan, records)
    _check_options(plan, todo)
    environment = describe(packages)
    begin(run, plan, environment, options)
    try:
        with Tracking(options.track, run, plan.trials) as tracking:
            tracking.track(records)
            if todo:
                run.log(f"{len(todo)} of {len(plan.trials)} trials to run, {options.workers} at a time")
                with (
                    Claims(run.claims, run.clear) as claims,
                    Progress(len(plan.trials), len(records), options.quiet) as progress,
                ):
                    again = {key: record for key, record in found.items() if key not in records}
                    share = _Share(plan, run, claims, progress, tracking, environment, again)
                    share.work(todo, executor(plan, options, environment, until), options.batch_trials)
                run.tidy()
                records |= share.records
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(error, run.directory) from error
    missing = [key for key in plan.keys if key not in records]
    records |= {record["key"]: record for record in run.records(missing)}
    return run, [records[key] for key in plan.keys if key in records]


def begin(run: Run, plan: Plan, environment: Mapping[str, Any], options: Options) -> None:
    """Make a run's directory, or take up the one that is there.

    Raises
    ------
    UserError
        See :func:`execute`; and where records are to be deleted that another process is at work on.
    """
    if options.overwrite and (others := at_work(run.claims)):
        raise UserError(f"{run.directory}: process {others[0].pid} on {others[0].host} is at work on this run; end it "
                        "before --overwrite deletes its records")  # fmt: skip
    run.begin(plan.description(), environment, options.overwrite)


def executor(plan: Plan, options: Options, environment: Mapping[str, Any], until: float | None) -> Executor:
    """Return who runs a plan's trials.

    Parameters
    ----------
    environment : what :func:`common.environment.describe` returned.
    until : when the run is over, by ``time.monotonic``.
    """
    holding = terms(plan, options, environment)
    if options.executor == "dask":
        from common.dask_cluster import DaskExecutor

        return DaskExecutor(holding, options.workers, options.scheduler, until)
    if options.executor == "slurm":
        from common.slurm import SlurmExecutor

        return SlurmExecutor(holding, options.workers, until)
    return LocalExecutor(holding, options.workers, until)


def terms(plan: Plan, options: Options, environment: Mapping[str, Any]) -> Terms:
    """Return what holds for every trial of a plan, see :func:`executor`."""
    limits = options.timeout_s, options.memory_limit_mb, options.isolate
    return Terms(*limits, plan.sources, options.data_dir, environment["fixed"])


def batch_script(plan: Plan, options: Options) -> str:
    """Return what SLURM would be given for what is left of a plan."""
    optional.check_installed("executor: slurm", EXECUTORS["slurm"], "requirements-scale.txt")
    from common.slurm import script

    todo = unfinished(plan, kept(plan, options))
    able = [trial for trial in todo if refusal(plan, trial) is None]
    jobs = _jobs(plan, able, Run(options.results / plan.run_name), options.batch_trials)
    return script(Terms(options.timeout_s, options.memory_limit_mb), jobs, options.workers) if jobs else ""


def _jobs(plan: Plan, trials: Sequence[Trial], run: Run, batch_trials: int) -> list[Job]:
    firsts = plan.first_of_configuration()
    return [
        Job(part, [run.staging(trial.key) for trial in part], fresh=len(part) == 1 and part[0].key in firsts)
        for part in together(trials, batch_trials, lambda name: backends.load(name).capability)
    ]


@dataclass
class _Share:
    """What one process does of a run that others may be working on too.

    Attributes
    ----------
    again : records of trials that are to be run although they have one.
    records : what this process added, by key.
    """

    plan: Plan
    run: Run
    claims: Claims
    progress: Progress
    tracking: Tracking
    environment: Mapping[str, Any]
    again: Mapping[str, Record]
    records: dict[str, Record] = field(default_factory=dict)

    def work(self, todo: Sequence[Trial], executor: Executor, batch_trials: int) -> None:
        """Run the trials that nobody else does, and record them."""
        refused = {trial.key: reason for trial in todo if (reason := refusal(self.plan, trial)) is not None}
        self._refuse([trial for trial in todo if trial.key in refused], refused)
        able = [trial for trial in todo if trial.key not in refused]
        jobs = _jobs(self.plan, able, self.run, batch_trials)
        with closing(map_trials(self._claimed(jobs), executor)) as records:  # before the claims are given back
            for record in records:
                if self.claims.holds(record["key"]):
                    record["contended"] |= self.claims.accompanied(record["key"])
                    said = self._write(record)
                    self.claims.release(record["key"])
                    self.progress.advance(said)

    def _refuse(self, trials: Sequence[Trial], refused: Mapping[str, str]) -> None:
        """Record trials that their backend cannot express, and say so in one line for each reason."""
        for trial in trials:
            self._write(unsupported(trial, refused[trial.key]))
        for reason, count in Counter(refused.values()).items():
            self.progress.skip(count, f"{count} unsupported: {reason}")

    def _write(self, record: Record) -> str:
        said = write(self.run, record, self.environment, self.plan.varying)
        self.tracking.track([record["key"]])
        self.records[record["key"]] = record
        return said

    def _claimed(self, jobs: Sequence[Job]) -> Iterator[Job | None]:
        """Yield jobs whose trials are now claimed; None where all that is left is being run by others."""
        waiting, told = deque(jobs), False
        while waiting:
            others = self.claims.look_round()
            for _ in range(len(waiting)):
                job = waiting.popleft()
                outcome = [self._claim(trial.key) for trial in job.trials]
                if "busy" in outcome:
                    waiting.append(job.part([one == "busy" for one in outcome]))
                if "ours" in outcome:
                    yield job.part([one == "ours" for one in outcome])
            if waiting:
                if not told:
                    told = True
                    who = ", ".join(f"process {other.pid} on {other.host}" for other in others) or "others"
                    self.progress.say(f"waiting for {sum(len(job.trials) for job in waiting)} trials of {who}")
                yield None

    def _claim(self, key: str) -> str:
        """Take a trial where it is to be had: ``ours``, ``busy`` with another process, or ``done`` by one."""
        if not self.claims.take(key):
            return "busy"
        record = self.run.record(key)
        if record is None or record.get("unfinished") or record == self.again.get(key):
            return "ours"
        self.claims.release(key)
        self.progress.skip(1)
        return "done"


def _check_options(plan: Plan, todo: Sequence[Trial]) -> None:
    """Build each network whose options the user gave once, so that a mistake in them is told before anything is written.

    Only its own backend can judge an option's value, which takes a few seconds.
    """
    built = set()
    with Profiler() as profiler:
        for trial in (trial for trial in todo if getattr(trial.architecture, "changed", ())):
            network = trial.backend, trial.engine, trial.architecture.label, trial.dataset, trial.features
            if network in built or refusal(plan, trial) is not None:
                continue
            dataset = plan.datasets[trial.dataset]
            shape = input_shape(trial, dataset, train_rows=len(cut(trial, dataset).train))
            profiler.layers(trial, shape, dataset.n_classes)
            built.add(network)


def refusal(plan: Plan, trial: Trial) -> str | None:
    """Return why a trial's backend cannot express it, or None; no framework is imported for the answer."""
    capability = backends.load(trial.backend).capability
    return capability.reason_against(needs(trial, plan.datasets[trial.dataset].n_classes))


def unsupported(trial: Trial, reason: str) -> Record:
    """Return the record of a trial that its backend cannot express."""
    return {**empty_record(trial), "status": "unsupported", "error": reason, "contended": False}


def write(run: Run, record: Record, environment: Mapping[str, Any], varying: Sequence[str]) -> str:
    """Put a finished trial's record, with what it ran on, in its place, log it, and return :func:`common.progress.line`."""
    record |= in_record(environment)
    run.write(record)
    said = line(record, varying)
    run.log(said)
    return said


def failures(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records of trials that should have worked and did not."""
    return [record for record in records if record["status"] not in SETTLED]
