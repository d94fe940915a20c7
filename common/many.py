"""Trials of one architecture trained together, as one program of a backend that can; each is scored by itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.base import Array, Backend, Capability, Diverged, Epoch, Network, Weights, needs_of_many
from common.course import Course, validated
from common.data import Dataset
from common.initial import epochs
from common.inputs import cut, pipeline_of
from common.measure import TrainingMeter
from common.outcome import Unwritable, evaluated, kept
from common.splits import Split
from common.trial import Record, built, empty_record, failure, messages, network_of, warned
from config import FeedForward, Trial, number_format


def together(trials: Iterable[Trial], most: int, capability: Callable[[str], Capability]) -> Iterator[list[Trial]]:
    """Yield the trials in lists of up to `most` that one program can train, and of one where that is not so.

    In a list, trials differ in seed, learning rate and the sizes of as many hidden layers; those of one rate are
    neighbours.

    Parameters
    ----------
    capability : of a backend, by its name.
    """
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        can = most > 1 and _can(trial, capability(trial.backend))
        found.setdefault(_alike(trial) if can else trial.key, []).append(trial)
    for alike in found.values():
        alike.sort(key=lambda trial: trial.training.learning_rate)
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def _can(trial: Trial, capability: Capability) -> bool:
    features, training = trial.features, trial.training
    # all networks read one copy of the inputs, so that nothing may be fitted on a trial's own training rows
    plain = features.pca is None and features.scaling != "standard" and training.augmentation == "none"
    exact = trial.loop == "tuned" and trial.precision != "bfloat16"
    return plain and exact and capability.reason_against(needs_of_many(trial)) is None


def _alike(trial: Trial) -> str:
    fields = json.loads(trial.model_copy(update={"seed": 0}).canonical())
    del fields["training"]["learning_rate"]
    if isinstance(trial.architecture, FeedForward):
        fields["architecture"]["hidden_layer_sizes"] = len(trial.architecture.hidden_layer_sizes)
    return json.dumps(fields)


@dataclass
class _Member:
    """One of the trials: its rows, its network, where it stands, and its course."""

    trial: Trial
    record: Record
    directory: Path
    rows: Split
    network: Network
    initial: Weights
    course: Course
    last: Weights | None = None

    def plan(self) -> Iterator[Epoch]:
        """Yield its epochs, whose orders are of rows of the pooled data."""
        for epoch in epochs(self.trial.training, len(self.rows.train), self.trial.seed):
            yield replace(epoch, order=self.rows.train[epoch.order])

    @property
    def over(self) -> bool:
        """Whether nothing more is to be learned of its training."""
        return self.last is not None or self.record["status"] is not None


def run_many(trials: Sequence[Trial], backend: Backend, dataset: Dataset, directories: Sequence[Path]) -> list[Record]:
    """Run trials that :func:`together` put together, and return their records; nothing that happens is raised.

    Their times of training are shares of the program's; what is not known of a single one is null.

    Parameters
    ----------
    directories : where each trial's history, predictions and model are written; they exist.

    Raises
    ------
    Unwritable
        Where the disk is at fault.
    """
    records = [{**empty_record(trial), "batched": len(trials)} for trial in trials]
    with warned() as caught:
        try:
            _run(trials, backend, dataset, directories, records)
        except Unwritable:
            raise
        except Exception as error:
            for record in records:
                if record["status"] is None:
                    record |= failure(error)
    return [{**record, "warnings": messages(caught)} for record in records]


def _run(
    trials: Sequence[Trial],
    backend: Backend,
    dataset: Dataset,
    directories: Sequence[Path],
    records: Sequence[Record],
) -> None:
    pipeline = pipeline_of(trials[0], dataset).fit(dataset.images[:1])
    inputs = pipeline.transform(dataset.images).astype(number_format(trials[0].precision), copy=False)
    members = []
    for trial, directory, record in zip(trials, directories, records, strict=True):
        rows, network = cut(trial, dataset), network_of(trial, inputs.shape[1:], dataset.n_classes)
        first = built(trial, backend, network, record)
        members.append(_Member(trial, record, directory, rows, network, first, Course.of(trial, backend)))
        counts = {"n_train": len(rows.train), "n_val": len(rows.validation), "n_test": len(rows.test)}
        record |= {"n_classes": dataset.n_classes, **counts}
    _fit(members, backend, inputs, dataset.labels)
    for member in members:
        if member.record["status"] is None:
            _finish(member, backend, inputs, dataset.labels)


def _finish(member: _Member, backend: Backend, inputs: Array, labels: Array) -> None:
    assert member.last is not None
    test = member.rows.test
    backend.build(member.network)
    backend.set_weights(member.course.best or member.last)
    found, probabilities = evaluated(backend, member.initial, inputs[test], labels[test])
    history = member.course.history
    sizes = kept(backend, member.directory, history, test, labels[test], probabilities)
    member.record |= {**member.course.figures(), **found, **sizes, "status": "ok"}


def _fit(members: Sequence[_Member], backend: Backend, inputs: Array, labels: Array) -> None:
    meter = TrainingMeter(backend.synchronise)
    prepared = backend.prepare(inputs, labels)

    def epoch_end(losses: list[float], weights: Callable[[int], Weights]) -> bool:
        meter.pause()
        share, last = meter.epoch_s[-1] / len(members), len(meter.epoch_s) == members[0].trial.training.epochs
        for place, (member, loss) in enumerate(zip(members, losses, strict=True)):
            if member.over:
                continue
            own = weights(place)
            validation = member.rows.validation
            backend.build(member.network)
            backend.set_weights(own)
            found = validated(backend, inputs[validation], labels[validation])
            try:
                figures = {"train_loss": loss, "epoch_s": share, **found}
                over = member.course.epoch_end(figures, functools.partial(weights, place))
            except Diverged as error:
                member.record |= failure(error)
                continue
            if over or last:
                member.last = own
        meter.resume()
        return all(member.over for member in members)

    meter.resume()
    plans = zip(*(member.plan() for member in members), strict=True)
    backend.fit_many([m.network for m in members], [m.initial for m in members], prepared, plans, epoch_end)
