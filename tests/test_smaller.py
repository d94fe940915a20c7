"""Exported models in 8 bits: how small, how accurate, and which file is the smallest that is good enough."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_export import exported, trained

from common import neutral, smaller
from common.data import load
from common.export import Exported
from common.inputs import cut
from common.onnx_file import OnnxFile
from common.smaller import Score, smallest
from config import Trial
from tests.command import records, the_run

onnx = pytest.importorskip("onnx")


def rows_of(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Return the lines of a CSV file, and see that it has the columns."""
    lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert set(columns) <= set(lines[0])
    return lines


def test_in_8_bits_a_network_is_smaller_and_its_accuracy_is_that_of_the_file(tmp_path: Path) -> None:
    results = trained(tmp_path, backend="torch", architecture="ffn:256-128")
    (folder,) = exported(results, "--smaller")
    lines = rows_of(the_run(results) / "tables" / "neutral.csv", ["val_accuracy", "test_accuracy_low"])
    assert [line["numbers"] for line in lines] == ["float32", "int8"]
    large, small = (folder / "model.onnx", folder / "model.int8.onnx")
    assert small.stat().st_size < 0.5 * large.stat().st_size
    assert set(json.loads((folder / "spec.json").read_text())["files"]) == {
        "model.onnx", "model.int8.onnx", "model.safetensors",
    }  # fmt: skip
    digits = load("digits")
    (path,) = the_run(results).glob("trials/*/*/predictions.npz")
    with np.load(path) as file:
        index, labels = file["index"], file["label"]
    for name, line in zip((large, small), lines, strict=True):
        right = OnnxFile(name).probabilities(digits.images[index]).argmax(axis=1) == labels
        assert float(line["test_accuracy"]) == pytest.approx(right.mean())
        assert float(line["test_accuracy_low"]) < right.mean() < float(line["test_accuracy_high"])
    kinds = {array.data_type for array in onnx.load(small).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert lines[1]["own_bytes"] == lines[1]["own_latency_ms_p50"] == "", "8 bits have no figures in the framework"


@pytest.mark.slow
def test_the_ranges_are_those_of_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from common import export

    results = trained(tmp_path, backend="torch", architecture="ffn:16")
    seen: list[Any] = []
    real = smaller.int8
    monkeypatch.setattr(smaller, "int8", lambda network, rows, *rest: seen.append(rows) or real(network, rows, *rest))
    options = export.Options(smaller=True)
    assert len(list(export.export(export.choose(str(the_run(results)), results), options))) == 2
    digits = load("digits")
    (record,) = records(results)
    train = cut(Trial.model_validate_json(json.dumps(record["spec"])), digits).train
    assert np.array_equal(seen[0].reshape(len(train), -1), digits.images[train].reshape(len(train), -1) / 16)


def scored(numbers: str, size: int, validation: float, test: float, **record: Any) -> Exported:
    choice: Any = SimpleNamespace(backend="torch", record={"architecture": f"ffn:{size}", **record})
    score = Score(validation, round(1000 * test), 1000)
    return Exported(choice, Path(), 0.0, "logits", 1, np.zeros(1), b"x" * size, numbers, score)


def test_the_smallest_file_is_chosen_by_validation_accuracy() -> None:
    models = [scored("float32", 900, 0.996, 0.97), scored("int8", 300, 0.985, 0.999), scored("int8", 100, 0.97, 0.999),
              scored("float32", 400, 0.991, 0.96)]  # fmt: skip
    assert [smallest(models, level) for level in (0.98, 0.99, 0.995)] == [models[1], models[3], models[0]]
    assert smallest(models, 0.999) is None
    table = smaller.render(models[1:], "text", None)
    (line,) = [line.split() for line in table.splitlines() if line.split()[:1] == ["99.5%"]]
    assert line[1] == "none" and "The most of any file: 99.10% of the validation images right" in table


def test_equal_networks_stand_together_in_the_neutral_table() -> None:
    shared = {"dataset": "digits", "threads": 1, "contended": False, "cpu": "one", "backend": "torch", "engine": None,
              "model_bytes": 1, "latency_ms_p50": 1.0, "throughput_per_s": 1.0}  # fmt: skip
    figures = dict.fromkeys(("latency_ms_p50", "throughput_per_s", "peak_memory_mb", "memory_rise_mb"), 1.0)
    sizes = [(16, 1), (128, 0), (16, 0)]
    rows = [
        neutral.Row(scored(numbers, size, 0.9, 0.9, key=f"{size}{seed}", seed=seed, **shared), figures)
        for numbers in ("int8", "float32")
        for size, seed in sizes
    ]
    lines = neutral.render(rows, "text", None, "tables/neutral.csv").splitlines()
    found = [line.split() for line in lines if line.startswith("torch")]
    assert [(row[1], row[2], row[4]) for row in found] == [
        (f"ffn:{size}", str(seed), numbers) for size, seed in sorted(sizes) for numbers in ("float32", "int8")
    ]


@pytest.mark.slow
@pytest.mark.mnist
def test_in_8_bits_networks_of_mnist_lose_next_to_nothing(tmp_path: Path) -> None:
    results = trained(tmp_path, dataset="mnist", rows=20000, grids=[
        {"backend": ["sklearn", "keras", "torch"], "architecture": "ffn:128-64"},
        {"backend": "torch", "architecture": "cnn"},
    ], training={"epochs": 2, "batch_size": 64, "optimizer": "adam", "learning_rate": 0.001})  # fmt: skip
    exported(results, "--smaller")
    lines = rows_of(the_run(results) / "tables" / "neutral.csv", ["val_accuracy"])
    assert len(lines) == 8
    for large, small in zip(lines[::2], lines[1::2], strict=True):
        assert large["key"] == small["key"]
        assert float(large["test_accuracy"]) - float(small["test_accuracy"]) <= 0.003, large["architecture"]
        assert int(small["onnx_bytes"]) <= 0.3 * int(large["onnx_bytes"]), large["architecture"]
