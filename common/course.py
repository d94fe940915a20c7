"""The course of one training: its figures epoch by epoch, when it is over, and which weights are its result."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from backends.base import Array, Backend, Diverged, Stopping, Weights
from common import pruning
from config import Trial

LEVELS = (97, 98, 99)
"""Validation accuracies, in percent, to which the training is timed."""


@dataclass
class Course:
    """What became of a training so far; early stopping is decided here, from validation figures alone.

    Attributes
    ----------
    patience : epochs without a better one after which it is over; None where it goes through all of them.
    stopping : which epoch is better, and which weights remain.
    first : the epoch, counted from 1, from which on the network is as it is to be, and may be the best.
    history : by name, a figure for each epoch.
    best : the weights to come back to at the end; None where the last remain.
    """

    patience: int | None
    stopping: Stopping
    first: int = 1
    history: dict[str, list[Any]] = field(default_factory=dict)
    best: Weights | None = None

    @classmethod
    def of(cls, trial: Trial, backend: Backend) -> Self:
        """Return a training's beginning: the rule is the same for every framework, or in the native protocol its own."""
        stopping = backend.stopping if trial.protocol == "native" else Stopping()
        first = pruning.last_epoch(trial.training) if trial.training.sparsity else 1
        return cls(trial.training.early_stopping_patience, stopping, first)

    def epoch_end(self, figures: Mapping[str, float | None], weights: Callable[[], Weights]) -> bool:
        """Take in the figures of one more epoch, and return whether the training is over.

        Parameters
        ----------
        figures : by name; ``train_loss`` (None where the framework has none) and, where training may end early, what
            :func:`validated` says.
        weights : gives the weights as they are; called where they are the best so far and may come back.

        Raises
        ------
        Diverged
            Where the loss is not finite.
        """
        for name, value in figures.items():
            self.history.setdefault(name, []).append(value)
        train_loss = figures["train_loss"]
        if train_loss is not None and not math.isfinite(train_loss):
            raise Diverged(f"the training loss was {train_loss} in epoch {self.epoch}")
        if self.patience is None:
            return False
        if self.best_epoch == self.epoch and self.stopping.restore_best:
            self.best = weights()
        return self.epoch - self.best_epoch >= self.patience

    @property
    def epoch(self) -> int:
        """The last finished epoch, counted from 1."""
        return len(self.history["train_loss"])

    @property
    def best_epoch(self) -> int:
        """The best epoch so far by the rule of early stopping, counted from 1; without it, the last."""
        if self.patience is None:
            return self.epoch
        sign = 1 if self.stopping.monitor == "val_accuracy" else -1
        values = [sign * value for value in self.history[self.stopping.monitor]]
        best = min(self.first, self.epoch)
        for number in range(best, self.epoch + 1):
            if values[number - 1] > values[best - 1] + self.stopping.least:
                best = number
        return best

    @property
    def final_epoch(self) -> int:
        """The epoch whose weights are the result, counted from 1."""
        return self.best_epoch if self.stopping.restore_best else self.epoch

    def figures(self) -> dict[str, Any]:
        """Return what the record says of the training."""
        index = self.final_epoch - 1
        return {
            **{name: self.history[name][index] for name in ("train_loss", "val_accuracy", "val_log_loss")},
            "epochs": self.epoch,
            "best_epoch": self.final_epoch,
            "fit_s": sum(self.history["epoch_s"]),
            "epoch_s": statistics.median(self.history["epoch_s"]),
            **self._reached(),
        }

    def _reached(self) -> dict[str, Any]:
        """Return epochs and seconds of training until the network, pruned or not, first was at each level."""
        found: dict[str, Any] = {}
        for level in LEVELS:
            passed = [
                number
                for number, value in enumerate(self.history["val_accuracy"], 1)
                if number >= self.first and value >= level / 100
            ]
            found[f"epochs_to_{level}"] = passed[0] if passed else None
            found[f"fit_s_to_{level}"] = sum(self.history["epoch_s"][: passed[0]]) if passed else None
        return found


def validated(backend: Backend, inputs: Array, labels: Array) -> dict[str, float]:
    """Return ``val_accuracy`` and ``val_log_loss`` of the network as it is, on validation data."""
    found = scores(labels, backend.predict_proba(inputs))
    return {"val_accuracy": found["accuracy"], "val_log_loss": found["log_loss"]}


def scores(labels: Array, probabilities: Array) -> dict[str, float]:
    """Score class probabilities, (rows, classes), against labels, (rows,); macro averages count an absent class as 0."""
    from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support

    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    finite = np.nan_to_num(probabilities.astype(np.float64), nan=1 / classes)
    # float32 sums to 1 only to 1e-7, which log_loss would warn of
    normalized = finite / finite.sum(axis=1, keepdims=True)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=range(classes), average="macro", zero_division=0
    )
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
        "log_loss": float(log_loss(labels, normalized, labels=range(classes))),
    }
