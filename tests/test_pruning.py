"""Magnitude pruning: what is pruned, when, and what comes of it in real frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from backends.base import Stopping
from common.course import Course
from common.onnx_file import OnnxFile
from common.pruning import kept, last_epoch, sparsity
from config import Training
from tests.command import call, records, study, the_run

SPARSE = {"epochs": 9, "batch_size": 64, "optimizer": "adam", "learning_rate": 0.01, "sparsity": 0.9}


def test_the_smallest_weights_of_all_kernels_together_go() -> None:
    kernels = {"a/kernel": np.array([[0.1, -4.0], [0.0, 2.0]]), "b/kernel": np.array([[-0.3, 0.2]])}
    found = kept(kernels, 0.5)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "a/kernel": [[False, True], [False, True]], "b/kernel": [[True, False]],
    }  # fmt: skip
    assert all(mask.all() for mask in kept(kernels, 0.0).values())


@pytest.mark.parametrize("epochs", [2, 3, 7, 50])
def test_it_rises_to_all_of_it_and_an_epoch_at_least_is_left(epochs: int) -> None:
    training = Training(epochs=epochs, sparsity=0.8)
    course = [sparsity(training, epoch) for epoch in range(1, epochs + 1)]
    assert course == sorted(course)
    assert course[last_epoch(training) - 1] == course[-1] == 0.8
    assert last_epoch(training) < epochs
    rises = np.diff([0.0, *course])
    assert (np.diff(rises) <= 1e-12).all(), "it rises less and less"


def run(folder: Path, **fields: Any) -> Path:
    fields = {"rows": None, "training": SPARSE, **fields}
    done = call("--study", study(folder, **fields), "--results", folder / "results", "--quiet")
    assert done.status == 0, done.err
    return folder / "results"


def test_an_accuracy_counts_as_reached_once_the_network_is_pruned() -> None:
    course = Course(None, Stopping(), first=3)
    for accuracy in (0.99, 0.98, 0.96, 0.97):
        figures = {"train_loss": 0.1, "val_accuracy": accuracy, "val_log_loss": 0.1, "epoch_s": 2.0}
        course.epoch_end(figures, dict)
    found = course.figures()
    assert (found["epochs_to_97"], found["fit_s_to_97"], found["epochs_to_98"]) == (4, 8.0, None)


def test_a_pruned_network_has_its_zeros_and_a_file_that_is_smaller_for_them(tmp_path: Path) -> None:
    training = {**SPARSE, "sparsity": [0.0, 0.9]}
    results = run(tmp_path, backend="torch", architecture="ffn:128-64", training=training)
    assert call("export", the_run(results), "--all").status == 0
    size = {}
    for record in records(results):
        (saved,) = the_run(results).glob(f"trials/*/{record['key']}/model.safetensors")
        kernels = np.concatenate([array.ravel() for array in load_file(saved).values() if array.ndim > 1])
        assert (kernels == 0).mean() == pytest.approx(record["sparsity"], abs=1e-4)
        (file,) = the_run(results).glob(f"export/*{record['key'][:8]}/model.onnx")
        size[record["sparsity"]] = file.stat().st_size
        assert record["test_accuracy"] > 0.9
        assert OnnxFile(file).probabilities(np.zeros((1, 8, 8, 1), np.uint8)).shape == (1, 10)
    assert size[0.9] < 0.5 * size[0.0]  # 5 bytes for each of a tenth of the weights, and not 4 for each of all
    out = call("table", the_run(results)).out
    assert "sparsity" in out


def test_early_stopping_waits_for_the_last_of_it(tmp_path: Path) -> None:
    training = {**SPARSE, "learning_rate": 1.0, "early_stopping_patience": 1}  # which only gets worse
    (record,) = records(run(tmp_path, backend="torch", architecture="ffn:16", training=training))
    assert record["best_epoch"] >= 6
    (saved,) = (tmp_path / "results").glob("*/trials/*/*/model.safetensors")
    kernels = np.concatenate([array.ravel() for array in load_file(saved).values() if array.ndim > 1])
    assert (kernels == 0).mean() == pytest.approx(0.9, abs=0.01)


FROZEN = """
from torch import nn

def network():
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    layers[1].weight.requires_grad_(False)
    return layers
"""


def test_weights_that_are_not_trained_stay(tmp_path: Path) -> None:
    (tmp_path / "frozen.py").write_text(FROZEN)
    file = study(tmp_path, backend="torch", architecture=f"{tmp_path}/frozen.py:network", training=SPARSE)
    assert call("--study", file, "--allow-code", "--results", tmp_path / "results", "--quiet").status == 0
    (saved,) = (tmp_path / "results").glob("*/trials/*/*/model.safetensors")
    frozen, trained = (array for array in sorted(load_file(saved).values(), key=np.size)[::-1][:2])
    assert frozen.size == 64 * 32
    assert (frozen != 0).all()
    assert (trained == 0).mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.slow
def test_every_framework_prunes_to_the_same_network(tmp_path: Path) -> None:
    grids = [{"backend": ["sklearn", "torch"]}, {"backend": "keras", "engine": ["tensorflow", "torch", "jax"]}]
    found = records(run(tmp_path, architecture="ffn:32", grids=grids))
    assert len(found) == 5
    accuracies = [record["test_accuracy"] for record in found]
    assert max(accuracies) - min(accuracies) < 0.01, accuracies


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"training": {**SPARSE, "epochs": 1}}, "sparsity needs at least 2 epochs"),
        ({"loop": "idiomatic", "protocol": "native"}, "does not hold weights at zero"),
        ({"training": {**SPARSE, "sparsity": 1}}, "sparsity"),
    ],
)
def test_what_cannot_be_pruned_is_said_beforehand(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    fields = {"backend": "torch", "architecture": "ffn:16", "training": SPARSE, **fields}
    done = call("--study", study(tmp_path, **fields), "--results", tmp_path / "results")
    assert done.status == 2
    assert words in done.err
    assert not (tmp_path / "results").exists()


def test_a_network_without_kernels_is_unsupported(tmp_path: Path) -> None:
    (tmp_path / "tree.py").write_text(
        "from sklearn.tree import DecisionTreeClassifier\ndef tree(): return DecisionTreeClassifier()\n"
    )
    file = study(tmp_path, backend="sklearn", architecture=f"{tmp_path}/tree.py:tree", training=SPARSE)
    call("--study", file, "--allow-code", "--results", tmp_path / "results", "--quiet")
    (record,) = records(tmp_path / "results")
    assert record["status"] == "unsupported"
    assert "no kernels" in record["error"]
