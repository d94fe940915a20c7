"""Keras on each engine against PyTorch: same weights and batches, float64, each engine in a process of its own.

``python -m tests.test_keras BACKEND ENGINE FILE`` is that process: it trains every network of CASES and writes what
came out to FILE (npz, arrays named ``case:what``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import backends
from backends.base import Backend, Network, Runtime
from common.initial import epochs, initial_weights
from config import Activation, FeedForward, Training

pytestmark = pytest.mark.slow  # each engine compiles every case
ROOT = Path(__file__).parent.parent
ENGINES = backends.load("keras").engines
HIDDEN = FeedForward(hidden_layer_sizes=(32, 16), activations=("relu", "tanh"))
PARTIAL = {"epochs": 10, "batch_size": 60}  # of 1,797 rows: 30 steps an epoch, the last one of 57 rows
EVEN = {"epochs": 100, "batch_size": 599}  # 3 steps an epoch, one shape to compile
EXACT = {"learning_rate": 2**-10, "beta_1": 0.875, "beta_2": 1 - 2**-10, "epsilon": 2**-27}
MOMENTUM = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9}
CASES: dict[str, tuple[FeedForward, Training]] = {
    "adam": (HIDDEN, Training(**PARTIAL, **EXACT)),
    "adamw": (HIDDEN, Training(**EVEN, optimizer="adamw", weight_decay=0.1, label_smoothing=0.1)),
    "momentum": (HIDDEN, Training(**PARTIAL, **MOMENTUM, schedule="cosine")),
    "nesterov": (HIDDEN, Training(**EVEN, **MOMENTUM, nesterov=True, schedule="one_cycle", l2=0.01)),
    "batch_norm": (HIDDEN.model_copy(update={"batch_norm": True}), Training(**EVEN, **EXACT, l2=0.01)),
}
ACTIVATIONS = FeedForward(hidden_layer_sizes=(32,) * len(get_args(Activation)), activations=get_args(Activation))
DROPOUT = HIDDEN.model_copy(update={"dropout": 0.3})


def train(backend: Backend, network: Network, data: object, rows: int) -> list[float]:
    backend.set_weights(initial_weights(backend.weight_specs(), network, 0))
    losses: list[float] = []
    backend.fit(data, epochs(network.training, rows, 0), lambda loss: bool(losses.append(loss)))
    return losses


def compilations(backend: Backend) -> int:
    """Return how often the engine has compiled the steps of the network built last."""
    steps = getattr(getattr(backend, "_loop", None), "compiled_steps", None)
    if steps is None:
        return 0
    return steps.experimental_get_tracing_count() if hasattr(steps, "python_function") else steps._cache_size()


def report(name: str, engine: str, file: str) -> None:
    from sklearn.datasets import load_digits

    backend = backends.load(name)(Runtime(engine=engine, precision="float64"))
    backend.start()
    inputs, labels = load_digits(return_X_y=True)
    inputs, labels = inputs / 16, labels.astype(np.int64)
    found: dict[str, object] = {}
    for case, (architecture, training) in CASES.items():
        network = Network(architecture, (64,), 10, training)
        backend.build(network)
        found[f"{case}:losses"] = train(backend, network, backend.prepare(inputs, labels), len(labels))
        found[f"compilations:{case}"] = compilations(backend)
        found |= {f"{case}:{key}": value for key, value in backend.get_weights().items()}
        found[f"{case}:probabilities"] = backend.predict_proba(inputs)
    network = Network(ACTIVATIONS, (64,), 10, Training())
    backend.build(network)
    weights = initial_weights(backend.weight_specs(), network, 0)
    backend.set_weights({key: 2 * value for key, value in weights.items()})
    found["activations:probabilities"] = backend.predict_proba(inputs)
    found["layers"] = [[layer.parameters, layer.flops] for layer in backend.layers()]
    if name == "keras":
        found |= repeated(backend, inputs, labels)
        found |= restored(backend, inputs, Path(file).with_name(f"{engine}-model"))
    np.savez(file, **found)


def repeated(backend: Backend, inputs: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Train a network with dropout, twice with one seed, then with another."""
    runs = []
    for seed in (0, 1):
        network = Network(DROPOUT, (64,), 10, Training(epochs=20, batch_size=599), seed)
        backend.build(network)
        data = backend.prepare(inputs, labels)
        for _ in range(2):
            train(backend, network, data, len(labels))
            runs.append(np.concatenate([weight.ravel() for weight in backend.get_weights().values()]))
    return {"repeat:runs": runs}


def restored(backend: Backend, inputs: np.ndarray, stem: Path) -> dict[str, object]:
    """Save the network built last, spoil it, load it again."""
    before = backend.predict_proba(inputs)
    path = backend.save(stem)
    backend.set_weights({key: 0 * value for key, value in backend.get_weights().items()})
    backend.load(path)
    parts = [backend.predict_proba(inputs[:rows]) for rows in (1, 3, 1000)]
    again = np.concatenate([backend.predict_proba(np.concatenate([inputs] * 3)), *parts])
    return {
        "restored:before": np.concatenate([before] * 3 + [before[:1], before[:3], before[:1000]]),
        "restored:after": again,
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("keras")
    processes = {}
    for name, engine in [("torch", ""), *(("keras", engine) for engine in ENGINES)]:
        environment = backends.load(name).environment(Runtime(engine=engine, precision="float64"))
        command = [sys.executable, "-m", "tests.test_keras", name, engine, str(folder / f"{name}{engine}.npz")]
        processes[name + engine] = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
    for process in processes.values():
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    return {key: dict(np.load(folder / f"{key}.npz")) for key in processes}


def differences(found: dict[str, dict[str, np.ndarray]], engine: str, case: str) -> dict[str, float]:
    ours, theirs = found["keras" + engine], found["torch"]
    names = [name for name in theirs if name.startswith(f"{case}:")]
    assert names == [name for name in ours if name.startswith(f"{case}:")]
    assert all(ours[name].dtype == np.float64 for name in names)
    return {name.partition(":")[2]: float(np.abs(ours[name] - theirs[name]).max()) for name in names}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", sorted(set(CASES) - {"batch_norm"}))
def test_the_same_training_ends_in_the_same_weights_as_in_pytorch(found, engine, case):
    assert max(differences(found, engine, case).values()) <= 1e-11


@pytest.mark.parametrize("engine", ENGINES)
def test_batch_norm_ends_in_nearly_the_same_weights_as_in_pytorch(found, engine):
    assert max(differences(found, engine, "batch_norm").values()) <= 1e-9  # rows' variances cancel many digits


@pytest.mark.parametrize("engine", ENGINES)
def test_activations_are_the_same_functions_as_in_pytorch(found, engine):
    assert max(differences(found, engine, "activations").values()) <= 1e-11


@pytest.mark.parametrize("engine", ENGINES)
def test_a_repeated_fit_is_equal_bit_for_bit_and_another_seed_is_another(found, engine):
    first, second, other, again = found["keras" + engine]["repeat:runs"]
    assert np.array_equal(first, second)
    assert np.array_equal(other, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_training_compiles_once_for_full_batches_and_once_for_the_rest(found, engine):
    # in each of 10 epochs 29 batches of 60 and one of 57; in each of 100 epochs 3 of 599
    expected = {"momentum": 2, "nesterov": 1} if engine != "torch" else {"momentum": 0, "nesterov": 0}
    assert {case: int(found["keras" + engine][f"compilations:{case}"]) for case in expected} == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_a_saved_network_predicts_the_same_again_for_any_number_of_rows(found, engine):
    np.testing.assert_allclose(
        found["keras" + engine]["restored:after"], found["keras" + engine]["restored:before"], 1e-12
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_count_what_pytorchs_count(found, engine):
    assert found["keras" + engine]["layers"].tolist() == found["torch"]["layers"].tolist()


if __name__ == "__main__":
    report(*sys.argv[1:])
