"""Networks of the user's own: found, run by every backend, and run only when the user said so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import call, records, study

ROOT = Path(__file__).parent.parent

NETWORKS = """
def torch_net(classes, width=4):
    from torch import nn
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, classes))

def keras_net(input_shape, classes):
    import keras
    from keras import layers
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(classes, activation="softmax")])

def forest():
    from sklearn.ensemble import RandomForestClassifier
    return RandomForestClassifier(20, random_state=0)

def nothing():
    return None

def five(classes):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))

def flat(classes):
    from torch import nn
    return nn.Linear(64, classes)

def probabilities(classes):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes), nn.Softmax(dim=1))
"""
FLAGS = ("--dataset", "digits", "--seeds", "1", "--split", "0.8", "--epochs", "20", "--threads", "1", "--json")


def compare(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run compare.py as a user does, in the folder of their own files."""
    command = [sys.executable, str(ROOT / "compare.py"), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    (tmp_path / "networks.py").write_text(NETWORKS)
    return tmp_path


@pytest.mark.parametrize(
    ("backend", "name", "parameters"),
    [
        ("torch", "torch_net", 4 * 10 + 144 * 10 + 10),
        pytest.param("keras", "keras_net", 650, marks=pytest.mark.slow),
        ("sklearn", "forest", None),
    ],
)
def test_every_backend_trains_one(networks: Path, backend: str, name: str, parameters: int | None) -> None:
    place = f"networks.py:{name}"
    done = compare(networks, "--backend", backend, "--arch", place, *FLAGS)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["trials"]
    assert record["architecture"] == place and record["test_accuracy"] > 0.8
    assert record["parameters"] == parameters
    assert all(record[field] for field in ("fit_s", "latency_ms_p50", "model_bytes", "peak_memory_mb"))


@pytest.mark.slow
def test_a_changed_file_is_another_network(networks: Path) -> None:
    flags = ("--backend", "torch", "--arch", "networks:torch_net", *FLAGS)
    first = json.loads(compare(networks, *flags).stdout)["trials"][0]
    (networks / "networks.py").write_text(NETWORKS.replace("width=4", "width=5"))
    second = json.loads(compare(networks, *flags).stdout)["trials"][0]
    assert first["key"] != second["key"] and first["parameters"] < second["parameters"]


def test_a_study_file_runs_no_code_unless_it_may(networks: Path) -> None:
    base = {"backend": "torch", "architecture": {"name": "networks.py:torch_net", "width": 3}, "dataset": "digits"}
    study = {"question": "?", "base": {**base, "seeds": 1, "threads": 1, "training": {"epochs": 1}}}
    (networks / "own.json").write_text(json.dumps(study))
    refused = compare(networks, "--study", "own.json")
    assert refused.returncode == 2 and "--allow-code" in refused.stderr and not (networks / "results").exists()
    done = compare(networks, "--study", "own.json", "--allow-code", "--json")
    assert json.loads(done.stdout)["trials"][0]["parameters"] == 3 * 10 + 108 * 10 + 10


@pytest.mark.slow
def test_what_is_no_network_is_said(networks: Path) -> None:
    gone = compare(networks, "--backend", "torch", "--arch", "nowhere.py:net", *FLAGS)
    assert gone.returncode == 2 and "there is no file nowhere.py" in gone.stderr
    wrong = {
        "nothing": "returned a builtins.NoneType; expected a torch.nn.Module",
        "five": "its network returns (rows, 5); expected (rows, 10), logits",
        "flat": "networks.py:flat: given inputs (rows, 1, 8, 8): mat1 and mat2",
        "probabilities": "ends in a softmax",
        "nowhere": "has no callable 'nowhere'",
    }
    done = compare(networks, "--backend", "torch", "--arch", *(f"networks.py:{name}" for name in wrong), *FLAGS)
    assert done.returncode == 1
    errors = {record["architecture"]: record["error"] for record in json.loads(done.stdout)["trials"]}
    for name, message in wrong.items():
        assert message in errors[f"networks.py:{name}"] and "Traceback" not in errors[f"networks.py:{name}"]
    misspelt = {"name": "custom", "place": "networks.py:torch_net", "widht": 3}
    (networks / "mine.json").write_text(json.dumps({"question": "?", "base": {"architecture": misspelt}}))
    done = compare(networks, "--study", "mine.json", "--allow-code", "--backend", "torch", *FLAGS)
    assert "'widht'; it is defined as torch_net(classes, width=4)" in json.loads(done.stdout)["trials"][0]["error"]


@pytest.mark.slow
def test_another_frameworks_network_is_unsupported(networks: Path) -> None:
    done = compare(networks, "--arch", "networks.py:torch_net", *FLAGS)
    assert done.returncode == 0
    status = {record["backend"]: record["status"] for record in json.loads(done.stdout)["trials"]}
    assert status == {"sklearn": "unsupported", "keras": "unsupported", "torch": "ok"}


def test_early_stopping_leaves_a_classifier_as_it_was_fitted(tmp_path: Path) -> None:
    (tmp_path / "tree.py").write_text(
        "from sklearn.tree import DecisionTreeClassifier\ndef tree(): return DecisionTreeClassifier()\n"
    )
    training = {"optimizer": "adam", "early_stopping_patience": 5}
    path = study(tmp_path, backend="sklearn", architecture=f"{tmp_path}/tree.py:tree", training=training)
    call("--study", path, "--allow-code", "--results", tmp_path / "results", "--quiet")
    (record,) = records(tmp_path / "results")
    assert record["status"] == "ok", record["error"]
