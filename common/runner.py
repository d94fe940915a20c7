"""A run: what is left of a plan is run, recorded and tabulated."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import backends
from backends.base import needs
from common.environment import describe, in_record
from common.executor import Job, LocalExecutor, Profiler, map_trials
from common.inputs import cut, input_shape
from common.many import together
from common.progress import Progress, line
from common.store import SETTLED, Run
from common.studies import Plan
from common.tracking import Tracking, check_installed
from common.trial import Record, empty_record
from config import Trial


@dataclass(frozen=True)
class Options:
    """How a plan is run, apart from what it holds."""

    results: Path
    data_dir: str | None = None
    workers: int = 1
    timeout_s: float | None = None
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
    found = Run(options.results / plan.run_name).records(plan.keys)
    return {record["key"]: record for record in found if not options.retry_failed or record["status"] in SETTLED}


def unfinished(plan: Plan, records: Container[str]) -> list[Trial]:
    """Return the plan's trials whose keys are not in `records`."""
    return [trial for trial, key in zip(plan.trials, plan.keys, strict=True) if key not in records]


def execute(plan: Plan, options: Options) -> tuple[Run, list[Record]]:
    """Run what is left of `plan`; what is finished is never run again.

    Returns
    -------
    The run, and a record for each trial.

    Raises
    ------
    UserError
        Where a tracker is not installed, an architecture's options make no network, or the run's directory was begun
        on another machine or with other library versions.
    """
    check_installed(options.track)
    run = Run(options.results / plan.run_name)
    names = {trial.backend for trial in plan.trials}
    packages = [package for name in names for package in backends.load(name).packages]
    records = kept(plan, options)
    todo = unfinished(plan, records)
    _check_options(plan, todo)
    environment = describe(packages)
    run.begin(plan.description(), environment, options.overwrite)
    with Tracking(options.track, run, plan.trials) as tracking:
        tracking.track(records)
        if todo:
            run.log(f"{len(todo)} of {len(plan.trials)} trials to run, {options.workers} at a time")
            with Progress(len(plan.trials), len(records), options.quiet) as progress:
                for record in _results(plan, todo, options, run):
                    write(run, record, environment)
                    tracking.track([record["key"]])
                    records[record["key"]] = record
                    progress.advance(line(record))
    return run, [records[key] for key in plan.keys]


def write(run: Run, record: Record, environment: Mapping[str, Any]) -> None:
    """Put a finished trial's record, with what it ran on, in its place, and log it."""
    record |= in_record(environment)
    run.write(record)
    run.log(line(record))


def unsupported(trial: Trial, reason: str) -> Record:
    """Return the record of a trial that its backend cannot express."""
    return {**empty_record(trial), "status": "unsupported", "error": reason, "contended": False}


def _results(plan: Plan, todo: Sequence[Trial], options: Options, run: Run) -> Iterator[Record]:
    """Run `todo`, and yield a record for each as they finish."""
    firsts = plan.first_of_configuration()
    refused = {trial.key: reason for trial in todo if (reason := refusal(plan, trial)) is not None}
    executor = LocalExecutor(options.workers, options.timeout_s, options.isolate, plan.sources, options.data_dir)
    able = [trial for trial in todo if trial.key not in refused]
    jobs = [
        Job(trials, [run.staging(trial.key) for trial in trials], fresh=len(trials) == 1 and trials[0].key in firsts)
        for trials in together(able, options.batch_trials, lambda name: backends.load(name).capability)
    ]
    cannot = (unsupported(trial, refused[trial.key]) for trial in todo if trial.key in refused)
    return itertools.chain(cannot, map_trials(jobs, executor))


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


def failures(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records of trials that should have worked and did not."""
    return [record for record in records if record["status"] not in SETTLED]
