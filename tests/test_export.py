"""Exported models: what they answer, what they hold, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import backends
from backends.models import catalog
from common.data import load
from common.onnx_file import OnnxFile
from tests.command import ROOT, call, records, study, the_run

onnx = pytest.importorskip("onnx")

QUICK = {"dataset": "digits", "training": {"epochs": 1, "batch_size": 64}}


def trained(folder: Path, **fields: Any) -> Path:
    """Train a study on digits and return the results folder."""
    file = study(folder, **{"rows": None, "threads": 1, **QUICK, **fields})
    done = call("--study", file, "--results", folder / "results", "--quiet")
    assert done.status == 0, done.err
    return folder / "results"


def exported(results: Path, *flags: object) -> list[Path]:
    """Export all trials of the only run; return the folders, in order of name."""
    done = call("export", the_run(results), "--all", *flags)
    assert done.status == 0, done.err
    return sorted(path.parent for path in the_run(results).glob("export/*/model.onnx"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(
        tmp_path_factory.mktemp("run"), backend=["sklearn", "torch"], architecture=["ffn:16", "ffn:12-8:tanh"]
    )


@pytest.fixture(scope="module")
def folders(results: Path) -> list[Path]:
    return exported(results)


def test_every_trial_is_exported_with_its_frameworks_own_file(results: Path, folders: list[Path]) -> None:
    assert len(folders) == 4
    for folder in folders:
        own = "model.skops" if folder.name.startswith("sklearn") else "model.safetensors"
        assert {path.name for path in folder.iterdir()} == {"model.onnx", own, "spec.json"}
        spec = json.loads((folder / "spec.json").read_text())
        (record,) = [one for one in records(results) if one["key"] == spec["trial"]]
        assert spec["spec"] == record["spec"]
        assert spec["difference"] <= 1e-4
        assert spec["compared"] == ("probabilities" if folder.name.startswith("sklearn") else "logits")


def test_a_file_is_one_of_opset_18_and_ir_10_with_names_and_open_rows(folders: list[Path]) -> None:
    for folder in folders:
        model = onnx.load(folder / "model.onnx")
        assert model.ir_version == 10
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == 18
        assert [one.name for one in model.graph.input] == ["images"]
        assert [one.name for one in model.graph.output] == ["logits", "probabilities"]
        first = model.graph.input[0].type.tensor_type.shape.dim[0]
        assert first.dim_param == "rows" and not first.HasField("dim_value")
        assert all(not array.external_data for array in model.graph.initializer)
        assert str(ROOT).encode() not in (folder / "model.onnx").read_bytes(), "this machine's paths are in it"


def test_a_file_says_what_it_is(results: Path, folders: list[Path]) -> None:
    for folder in folders:
        model = OnnxFile(folder / "model.onnx")
        (record,) = [one for one in records(results) if one["key"] == model.said("trial")]
        assert model.said("classes") == [str(digit) for digit in range(10)]
        for name in ("test_accuracy", "data_sha256", "architecture", "backend", "dataset"):
            assert model.said(name) == record[name]


def accuracy_on_record(folder: Path, record: dict[str, Any], images: np.ndarray, labels: np.ndarray) -> float:
    """Compute the test accuracy of an exported file with ONNX Runtime and NumPy alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    with np.load(folder.parent.parent / "trials" / record["key"][:2] / record["key"] / "predictions.npz") as file:
        index = file["index"]
    (logits,) = session.run(["logits"], {"images": images[index]})
    return float((logits.argmax(axis=1) == labels[index]).mean())


def test_a_files_accuracy_is_the_records(results: Path, folders: list[Path]) -> None:
    digits = load("digits")
    for folder in folders:
        key = json.loads((folder / "spec.json").read_text())["trial"]
        (record,) = [one for one in records(results) if one["key"] == key]
        assert accuracy_on_record(folder, record, digits.images, digits.labels) == record["test_accuracy"]


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.skipif("SAMENET_DATA_DIR" not in os.environ, reason="needs the real MNIST")
def test_on_mnist_a_files_accuracy_is_the_records(tmp_path: Path) -> None:
    training = {"epochs": 1, "batch_size": 128, "optimizer": "adam", "learning_rate": 0.002}
    way = {
        "dataset": "mnist",
        "train_share": "official",
        "training": training,
        "backend": ["sklearn", "keras", "torch"],
    }
    results = trained(tmp_path, **way, architecture=["ffn:32"])
    mnist = load("mnist")
    for folder in exported(results):
        key = json.loads((folder / "spec.json").read_text())["trial"]
        (record,) = [one for one in records(results) if one["key"] == key]
        assert accuracy_on_record(folder, record, mnist.images, mnist.labels) == record["test_accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    "features",
    [{"scaling": "standard"}, {"scaling": "none", "input_size": 5}, {"scaling": "standard", "input_size": 6, "pca": 9}],
    ids=str,
)
def test_raw_pixels_go_through_the_trials_own_preprocessing(features: dict[str, Any], tmp_path: Path) -> None:
    results = trained(tmp_path, backend="sklearn", architecture="ffn:8", features=features)
    (record,) = records(results)
    (folder,) = exported(results)
    digits = load("digits")
    assert accuracy_on_record(folder, record, digits.images, digits.labels) == record["test_accuracy"]
    (folder,) = exported(results, "--without-preprocessing")
    (taken,) = onnx.load(folder / "model.onnx").graph.input
    assert taken.name == "inputs"
    assert OnnxFile(folder / "model.onnx").said("preprocessing") is None


def test_a_run_gives_the_best_of_each_backend_by_validation(results: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(the_run(results), mine)
    shutil.rmtree(mine / "export", ignore_errors=True)
    done = call("export", mine)
    assert done.status == 0, done.err
    found = [json.loads(path.read_text()) for path in mine.glob("export/*/spec.json")]
    best = {
        name: max((one for one in records(results) if one["backend"] == name), key=lambda one: one["val_accuracy"])
        for name in ("sklearn", "torch")
    }
    assert {one["backend"]: one["trial"] for one in found} == {name: one["key"] for name, one in best.items()}
    assert all(line.split(";")[0].endswith("model.onnx") for line in done.out.splitlines())


@pytest.mark.slow
def test_a_trial_is_named_by_its_records_path_or_the_beginning_of_its_key(results: Path, tmp_path: Path) -> None:
    run = copied(results, tmp_path)
    (path, *_) = sorted(run.glob("trials/??/*.json"))
    for name in (path, path.stem[:8]):
        shutil.rmtree(run / "export", ignore_errors=True)
        done = call("export", name, "--results", tmp_path)
        assert done.status == 0, done.err
        assert [json.loads(one.read_text())["trial"] for one in run.glob("export/*/spec.json")] == [path.stem]


@pytest.mark.parametrize("name", ["no_such_run", "abcdef01"])
def test_what_is_neither_a_run_nor_a_trial_is_the_users_mistake(name: str, results: Path) -> None:
    done = call("export", name, "--results", results)
    assert done.status == 2
    assert name in done.err and len(done.err.splitlines()) == 1


def copied(results: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, nothing of it exported."""
    shutil.copytree(the_run(results), tmp_path / "copy", ignore=shutil.ignore_patterns("export"))
    return tmp_path / "copy"


def test_a_saved_model_that_was_changed_is_refused(results: Path, tmp_path: Path) -> None:
    run = copied(results, tmp_path)
    (path, *_) = sorted(run.glob("trials/??/*/model.safetensors"))
    weights = load_file(path)
    save_file({**weights, "logits.weight": -weights["logits.weight"]}, path)
    done = call("export", path.parent.with_suffix(".json"))
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert "was not exported: its model predicts otherwise than the record says" in line
    assert not (run / "export").exists()


def test_what_cannot_be_checked_is_refused_and_the_others_are_exported(results: Path, tmp_path: Path) -> None:
    run = copied(results, tmp_path)
    deleted, old, unfinished, _ = sorted(run.glob("trials/??/*.json"))
    (deleted.with_suffix("") / "predictions.npz").unlink()
    record = json.loads(old.read_text())
    old.write_text(json.dumps({**record, "spec": {**record["spec"], "shuffle": True}}))
    unfinished.unlink()
    done = call("export", run, "--all")
    assert done.status == 1
    said = sorted(line.partition(" was not exported: ")[2] for line in done.err.splitlines())
    assert said[0].startswith("its predictions.npz is gone or damaged")
    assert said[1].startswith("its record is of another version of samenet: shuffle: is not a known field")
    assert len(done.out.splitlines()) == len(list(run.glob("export/*/model.onnx"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("OnnxOfAnotherNetwork", "ONNX Runtime's logits differ from the framework's by"),
        ("OnnxOfOneRow", "ONNX"),
        ("OnnxOfNothing", "has no way to ONNX"),
    ],
)
def test_what_answers_otherwise_than_its_framework_is_refused_and_not_on_disk(
    wrong: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backends._PLACES, "broken", f"tests.broken:{wrong}")
    results = trained(tmp_path, backend="broken", architecture="ffn:8")
    done = call("export", the_run(results))
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert "was not exported: " in line and reason in line
    assert not (the_run(results) / "export").exists()


def test_a_file_that_was_changed_is_refused(folders: list[Path], tmp_path: Path) -> None:
    content = bytearray((folders[0] / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "changed.onnx").write_bytes(content)
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name, said in (("changed", "was changed since"), ("half", "is not a whole file"), ("empty", "is not a whole")):
        done = call("predict", tmp_path / f"{name}.onnx", __file__)
        assert done.status == 2
        (line,) = done.err.splitlines()
        assert said in line


@pytest.mark.slow
def test_no_framework_is_imported_where_models_are_checked(results: Path, tmp_path: Path) -> None:
    run = copied(results, tmp_path)
    script = (
        "import sys, compare; status = compare.main(sys.argv[1:]);"
        "print(status, sorted({'torch', 'tensorflow', 'keras', 'jax', 'sklearn', 'onnxscript'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "export", str(run)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.slow
def test_code_that_only_a_record_names_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    (tmp_path / "mine.py").write_text(code)
    flags = (
        "--dataset",
        "digits",
        "--threads",
        1,
        "--epochs",
        1,
        "--split",
        0.8,
        "--seeds",
        1,
        "--quiet",
        "--results",
        tmp_path / "r",
    )
    assert call("--backend", "torch", "--arch", "mine.py:make", *flags).status == 0
    run = the_run(tmp_path / "r")
    done = call("export", run)
    assert done.status == 1 and "is not run because a record names it; say --allow-code" in done.err
    assert call("export", run, "--allow-code").status == 0
    (tmp_path / "mine.py").write_text(code + "\n")
    done = call("export", run, "--allow-code")
    assert done.status == 1 and "was changed since the training" in done.err


@pytest.mark.slow
def test_the_neutral_table_sets_onnx_runtime_beside_the_framework(results: Path) -> None:
    done = call("export", the_run(results), "--all", "--measure", "--format", "csv")
    assert done.status == 0, done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    own = {one["key"]: one for one in records(results)}
    assert {row["key"] for row in rows} == own.keys()
    for row in rows:
        assert float(row["own_latency_ms_p50"]) == own[row["key"]]["latency_ms_p50"]
        assert 0 < float(row["ort_latency_ms_p50"]) <= float(row["ort_latency_ms_p95"])
        assert float(row["ort_throughput_per_s"]) > 1000
        assert 0 < float(row["ort_memory_rise_mb"]) < float(row["ort_peak_memory_mb"])
    assert (the_run(results) / "tables" / "neutral.csv").read_text() == done.out


WAYS = [
    ("sklearn", None),
    ("torch", None),
    ("keras", "tensorflow"),
    ("keras", "torch"),
    ("keras", "jax"),
]
ACTIVATIONS = ("relu", "sigmoid", "tanh", "identity", "elu", "gelu", "leaky_relu", "selu", "silu", "softplus")


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "engine"), WAYS, ids=lambda name: name or "")
def test_every_architecture_of_every_backend_answers_as_its_framework_does(
    backend: str, engine: str | None, tmp_path: Path
) -> None:
    capability = backends.load(backend).capability
    names = [name for name in catalog() if capability.reason_against([f"architecture:{name}"]) is None]
    names += [f"ffn:16:{name}" for name in ACTIVATIONS if capability.reason_against([f"activation:{name}"]) is None]
    names += ["ffn:16-8+batch_norm+dropout=0.1"] * (capability.reason_against(["batch_norm"]) is None)
    if engine in ("tensorflow", "jax"):  # whose networks are written by Keras's torch engine, which has them all
        names = ["cnn", "attention_2k", "ffn:16:gelu", "ffn:16-8+batch_norm+dropout=0.1"]
    way = {"backend": backend, **({"engine": engine} if engine else {}), "rows": 600}
    training = {"epochs": 1, "batch_size": 128, "optimizer": "adam", "learning_rate": 0.001}
    results = trained(tmp_path, **way, architecture=names, training=training)
    folders = exported(results)
    assert len(folders) == len(names)
    for folder in folders:
        spec = json.loads((folder / "spec.json").read_text())
        assert spec["difference"] <= 1e-4
        assert spec["compared"] == ("probabilities" if backend == "sklearn" else "logits")
