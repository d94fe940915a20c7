"""The whole life of one trial: data, build, first step, training, scores, cost; and whatever goes wrong in it."""

from __future__ import annotations

import json
import math
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Array, Backend, Diverged, Epoch, Network, Runtime, Unsupported, Weights
from common.augmentation import augmented
from common.course import Course, validated
from common.data import Dataset
from common.fields import FIGURES
from common.initial import build, epochs
from common.inputs import TrialData, load_inputs
from common.measure import PeakMemory, TrainingMeter, fenced, inference
from common.outcome import Unwritable, evaluated, kept
from common.pruning import Pruning
from common.seeding import generator
from config import FeedForward, Trial, UserError

Record = dict[str, Any]


def runtime(trial: Trial) -> Runtime:
    """Return where a trial's process computes."""
    return Runtime(trial.engine, trial.device, trial.precision, trial.threads, trial.loop)


def empty_record(trial: Trial) -> Record:
    """Return a trial's record before anything is known: its specification, and null for every figure."""
    return {
        "key": trial.key,
        **trial.flat(),
        **dict.fromkeys(FIGURES),
        "warnings": [],
        "spec": json.loads(trial.canonical()),
    }


def run_trial(trial: Trial, backend: Backend, dataset: Dataset, directory: Path, fresh: bool) -> Record:
    """Run one trial to its end and return its record; nothing that happens in it is raised.

    Parameters
    ----------
    directory : where history, predictions and model are written; it exists.
    fresh : whether this process has run no trial before, so that its peak memory is the trial's own.

    Raises
    ------
    Unwritable
        Where the disk is at fault.
    """
    record = empty_record(trial)
    with warned() as caught:
        try:
            _run(trial, backend, dataset, directory, fresh, record)
            record["status"] = "ok"
        except Unwritable:
            raise
        except Exception as error:
            record |= failure(error)
    return {**record, "warnings": messages(caught)}


def failure(error: Exception) -> Record:
    """Return what a record says of a trial that `error` ended; called where it was caught."""
    statuses = {Diverged: "diverged", Unsupported: "unsupported", UserError: "failed"}
    for kind, status in statuses.items():
        if isinstance(error, kind):
            return {"status": status, "error": str(error)}
    if isinstance(error, MemoryError):
        return {"status": "out_of_memory", "error": f"MemoryError: {error}"}
    return {"status": "failed", "error": "".join(traceback.format_exception(error))}


@contextmanager
def warned() -> Iterator[list[warnings.WarningMessage]]:
    """Collect what a person who trains is warned of; deprecations are for those who write libraries."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in (DeprecationWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", kind)
        yield caught


def messages(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    """Return what a record says of warnings: the first 20 different ones."""
    return list(dict.fromkeys(f"{warning.category.__name__}: {warning.message}" for warning in caught))[:20]


def _differences(backend: Backend, trial: Trial, classes: int) -> list[str]:
    """Return what the backend's own conventions change in this trial."""
    training = trial.training
    concerned = {
        "epsilon": training.optimizer != "sgd",
        "momentum": training.momentum > 0 and training.schedule != "constant",
        "l2": training.l2 > 0,
        "weight decay": training.weight_decay > 0,
        "early stopping": training.early_stopping_patience is not None,
        "two classes": classes == 2,
        "batch normalization": isinstance(trial.architecture, FeedForward) and trial.architecture.batch_norm,
    }
    return [f"{subject}: {what}" for subject, what in backend.native.items() if concerned.get(subject, True)]


def _run(trial: Trial, backend: Backend, dataset: Dataset, directory: Path, fresh: bool, record: Record) -> None:
    with fenced(backend.synchronise) as clock:
        data = load_inputs(trial, dataset)
    record |= {"data_s": clock.seconds, "n_classes": dataset.n_classes}
    record |= {f"n_{name}": len(data.labels[part]) for name, part in _PARTS.items() if part in data.labels}

    memory = PeakMemory() if fresh else None
    network = network_of(trial, data.inputs["train"].shape[1:], dataset.n_classes)
    with fenced(backend.synchronise) as clock:
        initial = built(trial, backend, network, record)
    record["build_s"] = clock.seconds
    with fenced(backend.synchronise) as clock:
        prepared = backend.prepare(data.inputs["train"], data.labels["train"])
    record["data_s"] += clock.seconds
    record["first_step_s"] = _first_step(trial, backend, prepared, len(data.labels["train"]))
    backend.set_weights(initial)

    training = _Fit(backend, data, Course.of(trial, backend), Pruning.of(trial.training, backend))
    training.run(trial, prepared, dataset.images)
    joules, method = training.meter.energy()
    record |= {**training.course.figures(), "cpu_s": training.meter.cpu_s, "energy_j": joules, "energy_method": method}
    record["evaluate_s"], tested = training.evaluate_s, None
    if trial.scored_on is None:
        found, probabilities = evaluated(backend, initial, data.inputs["test"], data.labels["test"])
        record |= {**found, "evaluate_s": training.evaluate_s + found["evaluate_s"]}
        tested = data.indices.test, data.labels["test"], probabilities
    with fenced(backend.synchronise) as clock:
        record |= inference(backend.predict_proba, data.inputs[trial.scored_on or "test"], backend.synchronise)
    record["evaluate_s"] += clock.seconds
    if memory is not None:
        peak = memory.peak_mb()
        record |= {"idle_memory_mb": memory.idle_mb, "peak_memory_mb": peak, "memory_method": memory.method}
        record["memory_rise_mb"] = peak - memory.idle_mb
    record["device_memory_mb"] = backend.device_memory_mb()
    record |= kept(backend, directory, training.course.history, tested)


def built(trial: Trial, backend: Backend, network: Network, record: Record) -> Weights:
    """Build a trial's network, note what its own conventions change, and return its initial weights."""
    if network.native:
        record["differs"] = _differences(backend, trial, network.classes)
    return build(backend, network, trial.seed)


_PARTS = {"train": "train", "val": "validation", "test": "test"}


def network_of(trial: Trial, input_shape: tuple[int, ...], classes: int) -> Network:
    """Return what a trial asks a backend to build."""
    own_draws = int(generator("framework", trial.seed).integers(2**31))
    return Network(trial.architecture, input_shape, classes, trial.training, own_draws, trial.protocol)


def _first_step(trial: Trial, backend: Backend, prepared: Any, rows: int) -> float:
    """Time the first steps, which trace and compile: one full batch, and one of the last batch's size."""
    size = min(trial.training.batch_size, rows)
    order = np.arange(size + rows % size)
    rates = np.full(math.ceil(len(order) / size), trial.training.learning_rate)
    with fenced(backend.synchronise) as clock:
        backend.fit(prepared, [Epoch(order, rates)], lambda loss: True)
    return clock.seconds


@dataclass
class _Fit:
    """One training: the clock runs while the backend trains, and stands still while the harness evaluates."""

    backend: Backend
    data: TrialData
    course: Course
    pruning: Pruning | None
    evaluate_s: float = 0.0

    def run(self, trial: Trial, prepared: Any, images: Array) -> None:
        self.meter = TrainingMeter(self.backend.synchronise, gpu=self.backend.settings()["device"] != "cpu")
        plan = epochs(trial.training, len(self.data.labels["train"]), trial.seed)
        plan = augmented(plan, trial, images, self.data)
        self.meter.resume()
        self.backend.fit(prepared, plan, self._epoch_end)
        if self.course.best:  # a classifier of the user's own has no weights to come back
            self.backend.set_weights(self.course.best)

    def _epoch_end(self, train_loss: float | None) -> bool:
        self.meter.pause()
        if self.pruning is not None:
            self.pruning.epoch_end()
        with fenced(self.backend.synchronise) as clock:
            found = validated(self.backend, self.data.inputs["validation"], self.data.labels["validation"])
        self.evaluate_s += clock.seconds
        figures = {"train_loss": train_loss, "epoch_s": self.meter.epoch_s[-1], **found}
        over = self.course.epoch_end(figures, self.backend.get_weights)
        self.meter.resume()
        return over
