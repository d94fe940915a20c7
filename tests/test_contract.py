"""Named checks over every registered backend and engine, each backend in a process of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import backends
from backends import models
from backends.base import Runtime
from backends.models import offered
from tests.contract import CHECKS, WAYS

ROOT = Path(__file__).parent.parent
PAIRS = [(name, engine) for name in backends.names() for engine in backends.load(name).engines or ("",)]

ACTIVATIONS = ["relu", "sigmoid", "tanh", "identity", "elu", "gelu", "leaky_relu", "selu", "silu", "softplus"]
COMMON = {
    *("architecture:ffn", "l2", "sparsity", "early_stopping", "optimizer:sgd", "optimizer:adam"),
    *("precision:float32", "precision:float64", "device:auto", "device:cpu"),
    *("schedule:step", "schedule:cosine", "schedule:one_cycle", "architecture:custom", "loop:idiomatic", "two_classes"),
}
DEEP = COMMON | {f"activation:{name}" for name in ACTIVATIONS} | {
    "precision:bfloat16",
    *("mixed_activations", "dropout", "batch_norm", "label_smoothing", "optimizer:adamw", "device:cuda"),
}  # fmt: skip
EXPECTED = {
    "sklearn": COMMON | {f"activation:{name}" for name in ACTIVATIONS[:4]},
    "keras": DEEP,
    "torch": DEEP | {"many:ffn"},
}


@functools.cache
def outcomes(name: str, engine: str, way: str) -> dict[str, str]:
    runtime = Runtime(engine=engine or None, **WAYS[way][0])
    environment = {**os.environ, **backends.load(name).environment(runtime), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.contract", name, engine, way]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 1, f"{name} printed on its own accord: {lines[:-1]}"
    found: dict[str, str] = json.loads(lines[0])
    return found


OF_WAYS = [(way, check) for way, (_, checks) in WAYS.items() for check in checks]
SLOW_ENGINES = ("torch", "jax")
CASES = [
    # compiling takes Keras minutes
    pytest.param(name, engine, way, check, marks=[pytest.mark.slow] * (engine in SLOW_ENGINES or bool(engine and way)))
    for name, engine in PAIRS
    for way, check in OF_WAYS
]


@pytest.mark.parametrize(("name", "engine", "way", "check"), CASES)
def test_contract(name: str, engine: str, way: str, check: str) -> None:
    asked = [f"{kind}:{value}" for kind, value in WAYS[way][0].items()]
    if reason := backends.load(name).capability.reason_against(asked):
        pytest.skip(reason)
    outcome = outcomes(name, engine, way)[check]
    if outcome.startswith("skipped"):
        pytest.skip(outcome)
    assert outcome == "passed", outcome


@pytest.mark.parametrize("check", CHECKS)
def test_some_backend_could_run_every_check(check: str) -> None:
    assert any(outcomes(name, engine, "")[check] == "passed" for name, engine in PAIRS if engine in ("", "tensorflow"))


@pytest.mark.parametrize("name", backends.names())
def test_capability_is_exactly_the_expected_set(name: str) -> None:
    capability = backends.load(name).capability
    assert capability.expresses == EXPECTED[name] | (set() if name == "sklearn" else offered(name))
    for need in set().union(*EXPECTED.values()) | {"vector_input"}:
        reason = capability.reason_against([need])
        assert (reason is None) == (need in EXPECTED[name])
        assert reason is None or len(reason) > 10


@pytest.mark.parametrize("name", ["keras", "torch"])
def test_on_a_gpu_every_framework_takes_products_of_float32_in_float32(name: str) -> None:
    variables = backends.load(name).environment(Runtime(device="cuda"))
    assert variables["NVIDIA_TF32_OVERRIDE"] == "0"
    assert variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID", "else NVML may read another GPU's energy"


def test_one_name_with_different_options_in_two_frameworks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_declared", lambda path: {"net": {"width": len(path.stem)}})
    with pytest.raises(ValueError, match=r"net has other options than in backends\.models\.keras_"):
        models.catalog.__wrapped__()
