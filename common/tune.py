"""A search: every contender at its best under the same budget, found by validation figures alone, then tested once.

The sampler is asked and told in the order of the candidates; a trial whose record is there is not trained again. So a
search that was killed is asked the same questions again, and goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

import backends
from common import studies
from common.candidates import Candidate, Found, best, by_contender, csv, directions, reasons
from common.environment import describe
from common.executor import Processes
from common.jobs import Job
from common.ownership import Claims
from common.process import kill_all
from common.runner import Options, begin, execute, refusal, terms, unsupported, write
from common.signals import ending
from common.store import Run, cannot_write, write_atomically
from common.studies import Leaves, Plan, Searched
from common.trial import Record
from config import Budget, Range, Scalar, Search, Study, Trial, UserError, Vocabulary, expand, flatten

FUTILE = 20
"""Failures in a row after which a contender is given up: they may cost nothing, and a budget of seconds would never end."""


def contenders(study: Study, over: Leaves, vocabulary: Vocabulary, data_dir: str | None, defaults: Leaves) -> Plan:
    """Return the plan of a search, with a trial for each of its contenders: what the grids say, and of the space the first.

    Raises
    ------
    UserError
        For a mistake in the study, its space, on the command line, or in the data.
    """
    assert study.search is not None
    search = study.search.without(over)
    ends = {name: values if isinstance(values, list) else [values.low, values.high]
            for name, values in search.parameters.items()}  # fmt: skip
    first = {name: values[0] for name, values in ends.items()}
    base = {**over, "seed": [search.seed]}
    for name, values in ends.items():  # so that a mistake in any of them is told before anything is trained
        for value in values:
            studies.trials(study, {**base, **search.leaves({**first, name: value})}, vocabulary, defaults)
    fixed = study.model_copy(update={"search": None})
    found = studies.plan(fixed, {**base, **search.leaves(first)}, vocabulary, data_dir, defaults)
    update = {"split_seed": search.seed, "scored_on": "validation"}
    trials = [trial.model_copy(update=update) for trial in found.trials]
    names = [label(trial, search) for trial in trials]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"search: there are {names.count(name)} contenders {name}; of a study with a search, only "
                            "backend, engine and architecture may be lists")  # fmt: skip
    return replace(found, study=study.model_copy(update={"search": search}), trials=trials)


def label(contender: Trial, search: Search) -> str:
    """Return ``torch``, or ``torch attention_2k`` where the architecture is not searched."""
    name = contender.backend + (f"/{contender.engine}" if contender.engine else "")
    searched = any(leaf == "architecture" for leaf in search.space)
    return name if searched else f"{name} {contender.architecture.label}"


def tune(work: Plan, options: Options, vocabulary: Vocabulary, say: Callable[[str], None]) -> Found:
    """Search for the best of each contender, or for those that nothing beats, and train and test these over fresh seeds.

    Parameters
    ----------
    work : as :func:`contenders` returns.
    say : takes a line for each trial of the search, with how much of the budget is spent.

    Raises
    ------
    UserError
        Where no candidate ended well, or the run's directory was begun elsewhere.
    """
    search = work.study.search
    assert search is not None
    name = _run_name(work, search)
    run = Run(options.results / name)
    packages = [package for trial in work.trials for package in backends.load(trial.backend).packages]
    environment = describe([*packages, "optuna"])
    begin(run, replace(work, trials=[], searched=Searched(name, {})), environment, options)
    candidates: list[Candidate] = []
    try:
        with (
            ending(at_once=kill_all),
            closing(Processes(terms(work, options, environment))) as processes,
            Claims(run.claims, run.clear) as claims,
        ):
            varying = [
                name.rpartition(".")[2] for name in search.parameters if "." in name
            ]  # an architecture names its own
            measure = _Measure(work, varying, run, environment, processes, claims, say)
            for contender in work.trials:
                for candidate in _candidates(contender, search, vocabulary, measure):
                    candidates.append(candidate)
                    write_atomically(run.directory / "tables" / "search.csv", csv(candidates))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(error, run.directory) from error
    finalists = [one for of in by_contender(candidates).values() for one in best(of, search)]
    if not finalists:
        raise UserError("\n".join(reasons(candidates)))
    final = replace(work, trials=_finals(finalists, search), searched=Searched(name, _said(search, candidates)))
    _, records = execute(final, replace(options, overwrite=False))
    return Found(run, candidates, finalists, records)


def _run_name(work: Plan, search: Search) -> str:
    """Return study, data set and a hash of contenders and search: with a larger budget, or more seeds, it goes on."""
    how = search.model_dump_json(exclude={"budget", "seeds"})
    digest = hashlib.sha256("".join([how, *work.keys]).encode()).hexdigest()
    return "-".join([work.study.name, *work.datasets, digest[:8]])


def _finals(finalists: Sequence[Candidate], search: Search) -> list[Trial]:
    """Return the trials that are tested: on the split of the search, from seeds that it did not use."""
    seeds = range(search.seed + 1, search.seed + 1 + search.seeds)
    found = [
        candidate.trial.model_copy(update={"seed": seed, "scored_on": None})
        for seed in seeds
        for candidate in finalists
        if candidate.trial is not None
    ]
    return list({trial.key: trial for trial in found}.values())


def _said(search: Search, candidates: Sequence[Candidate]) -> dict[str, Any]:
    return {"search": search.model_dump(mode="json"), "candidates": [candidate.said for candidate in candidates]}


@dataclass(frozen=True)
class _Measure:
    """Gives a trial's record: the one there is, or that of the training that it now gets."""

    work: Plan
    varying: Sequence[str]
    run: Run
    environment: Mapping[str, Any]
    processes: Processes
    claims: Claims
    say: Callable[[str], None]

    def __call__(self, trial: Trial, so_far: str) -> Record:
        key = trial.key
        if (record := self.run.record(key)) is not None:
            return record
        others = self.claims.look_round()
        if not self.claims.take(key):
            raise UserError(f"{self.run.directory}: process {others[0].pid if others else '?'} is at work on this search; "
                            "the same command goes on when it has ended")  # fmt: skip
        reason = refusal(self.work, trial)
        if reason is None:
            (record,) = self.processes.run(Job([trial], [self.run.staging(key)]), math.inf)
            record["contended"] = self.claims.accompanied(key)
        else:
            record = unsupported(trial, reason)
        said = write(self.run, record, self.environment, self.varying)
        self.claims.release(key)
        self.say(f"[{so_far}] {said}")
        return record


def _candidates(contender: Trial, search: Search, vocabulary: Vocabulary, measure: _Measure) -> Iterator[Candidate]:
    """Yield a contender's candidates until its budget is spent; one asked for again costs what it cost."""
    asked, spaces = _sampler(search), distributions(search)
    spent, failed = {"trials": 0.0, "seconds": 0.0, "epochs": 0.0}, 0
    name = label(contender, search)
    while _left(search.budget, spent) and failed < FUTILE:
        question = asked.ask(spaces)
        try:
            (trial,) = expand([_grid(contender, search.leaves(question.params))], vocabulary)
        except UserError as error:
            candidate = Candidate(name, question.number, question.params, None, [], "failed", str(error))
        else:
            so_far = _so_far(search.budget, {**spent, "trials": spent["trials"] + 1})
            candidate = _tried(question, name, trial, search, functools.partial(measure, so_far=so_far))
        if candidate.state == "complete":
            asked.tell(question, [candidate.records[-1][objective] for objective in search.objectives])
        else:
            asked.tell(question, state=TrialState.PRUNED if candidate.state == "pruned" else TrialState.FAIL)
        failed = failed + 1 if candidate.state == "failed" else 0
        spent["trials"] += 1
        spent["seconds"] += sum(record["trial_s"] or 0 for record in candidate.records)
        spent["epochs"] += sum(record["epochs"] or 0 for record in candidate.records)
        yield candidate


def _tried(
    question: optuna.Trial, name: str, trial: Trial, search: Search, measure: Callable[[Trial], Record]
) -> Candidate:
    """Train a candidate rung by rung, until it is given up or has been through all epochs."""
    records: list[Record] = []
    epochs = [rung for rung in sorted(search.rungs) if rung < trial.training.epochs] + [trial.training.epochs]
    for rung in epochs:
        short = trial.model_copy(update={"training": trial.training.model_copy(update={"epochs": rung})})
        record = measure(short)
        records.append(record)
        missing = [objective for objective in search.objectives if record[objective] is None]
        if record["status"] != "ok" or missing:
            reason = record["error"] or f"{missing[0]} was not measured"
            return Candidate(name, question.number, question.params, trial, records, "failed", reason)
        if rung == epochs[-1]:
            break
        question.report(record[search.objectives[0]], rung)
        if question.should_prune():
            return Candidate(name, question.number, question.params, trial, records, "pruned")
    return Candidate(name, question.number, question.params, trial, records, "complete")


def _grid(contender: Trial, leaves: Leaves) -> dict[str, list[Any]]:
    fields = flatten(contender.model_dump(exclude={"architecture"}))
    return {**fields, "architecture": [contender.architecture], **{leaf: [*values] for leaf, values in leaves.items()}}


def _left(budget: Budget, spent: Mapping[str, float]) -> bool:
    limits = budget.model_dump(exclude_none=True)
    return all(spent[name] < limit for name, limit in limits.items())


def _so_far(budget: Budget, spent: Mapping[str, float]) -> str:
    limits = budget.model_dump(exclude_none=True)
    return ", ".join(f"{spent[name]:.0f}/{limit:g} {name}" for name, limit in limits.items())


def _sampler(search: Search) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kind = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[search.sampler]
    pruner = optuna.pruners.MedianPruner() if search.pruner == "median" else optuna.pruners.NopPruner()
    return optuna.create_study(directions=directions(search), sampler=kind(seed=search.seed), pruner=pruner)


def distributions(search: Search) -> dict[str, BaseDistribution]:
    """Return a search's parameters as Optuna has them."""
    return {name: _distribution(values) for name, values in search.parameters.items()}


def _distribution(values: list[Scalar] | Range) -> BaseDistribution:
    if isinstance(values, list):
        return CategoricalDistribution(values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)
