"""Early stopping, by scripted losses of the validation images: when it ends, and which weights it brings back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_measure import digits_trial, run

from backends.base import Array, Runtime
from common import data
from tests.fake_backend import FakeBackend


class Scripted(FakeBackend):
    """Learns nothing: its validation log loss after each epoch is as told, and its bias holds the epoch's number."""

    script: tuple[float, ...] = ()

    def _step(self, x: Array, labels: Array, rate: float) -> float:
        return 1.0

    def fit(self, data: Any, epochs: Any, on_epoch_end: Callable[[float], bool]) -> None:
        def counting(loss: float) -> bool:
            self.weights["logits/bias"] = self.weights["logits/bias"] + 1
            return on_epoch_end(loss)

        super().fit(data, epochs, counting)

    def predict_proba(self, inputs: Array) -> Array:
        """Give the true class of validation rows, and class 0 of others, the probability that makes the loss as told."""
        epoch = round(float(self.weights["logits/bias"][0]))
        right = math.exp(-self.script[epoch - 1])
        rows = np.full((len(inputs), 10), (1 - right) / 9)
        classes = self.labels if len(inputs) == len(self.labels) else np.zeros(len(inputs), int)
        rows[np.arange(len(inputs)), classes] = right
        return rows


def stopped(script: tuple[float, ...], patience: int | None, directory: Path) -> tuple[dict[str, Any], Scripted]:
    """Train by a script of validation losses, and return the record and the backend as it was left."""
    from common.inputs import cut

    trial = digits_trial("ffn:1", epochs=len(script), early_stopping_patience=patience)
    backend = Scripted(Runtime())
    backend.script = script
    digits = data.load("digits")
    backend.labels = digits.labels[cut(trial, digits).validation]
    return run(trial, backend, directory), backend


def test_early_stopping_waits_its_patience_and_brings_the_best_weights_back(tmp_path: Path) -> None:
    record, backend = stopped((0.9, 0.5, 0.7, 0.6, 0.55, 0.1), 3, tmp_path)
    assert (record["epochs"], record["best_epoch"]) == (5, 2)
    assert record["val_log_loss"] == pytest.approx(0.5)
    assert backend.get_weights()["logits/bias"][0] == 2
    with np.load(tmp_path / "model.npz") as saved:
        assert saved["logits/bias"][0] == 2
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["val_log_loss"] == pytest.approx([0.9, 0.5, 0.7, 0.6, 0.55])


def test_early_stopping_counts_again_after_a_better_epoch(tmp_path: Path) -> None:
    record, backend = stopped((0.9, 0.95, 0.8, 0.85, 0.7, 0.75, 0.8), 2, tmp_path)
    assert (record["epochs"], record["best_epoch"]) == (7, 5)
    assert backend.get_weights()["logits/bias"][0] == 5


def test_early_stopping_takes_an_equal_loss_for_no_better(tmp_path: Path) -> None:
    record, _ = stopped((0.5, 0.5, 0.5, 0.1), 2, tmp_path)
    assert (record["epochs"], record["best_epoch"]) == (3, 1)


def test_early_stopping_brings_the_best_back_when_all_epochs_were_run(tmp_path: Path) -> None:
    record, backend = stopped((0.9, 0.4, 0.6), 5, tmp_path)
    assert (record["epochs"], record["best_epoch"]) == (3, 2)
    assert backend.get_weights()["logits/bias"][0] == 2


def test_without_early_stopping_the_last_epoch_counts(tmp_path: Path) -> None:
    record, backend = stopped((0.9, 0.4, 0.6, 0.7), None, tmp_path)
    assert (record["epochs"], record["best_epoch"]) == (4, 4)
    assert record["val_log_loss"] == pytest.approx(0.7)
    assert backend.get_weights()["logits/bias"][0] == 4


def test_test_scores_are_those_of_the_restored_weights(tmp_path: Path) -> None:
    record, _ = stopped((0.9, 0.2, 0.6, 0.6), 2, tmp_path)
    assert (record["epochs"], record["best_epoch"]) == (4, 2)
    with np.load(tmp_path / "predictions.npz") as saved:
        zeros = (saved["label"] == 0).mean()
    best = zeros * 0.2 - (1 - zeros) * math.log((1 - math.exp(-0.2)) / 9)
    assert record["test_log_loss"] == pytest.approx(best)
