"""A backend of NumPy alone, a softmax regression, that breaks where the environment tells it to.

``FAKE_FAULTS`` is a JSON object from an architecture's label to a fault, and worker processes inherit it. The hidden
layers are not built, so that ``ffn:1``, ``ffn:2``, ... are nothing but names of trials.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends.base import Array, Backend, Capability, Epoch, Layer, Network, Weights, WeightSpec

FAULTS = "FAKE_FAULTS"
LEDGER = "FAKE_LEDGER"
"""Names a file that gets a line for each network built: the architecture's label, and a number for the seed."""


class FakeBackend(Backend):
    """Softmax regression by plain gradient descent.

    Faults: ``crash``, ``words`` (prints, then crashes), ``sigkill``, ``sigsegv``, ``hang``, ``nan``, ``exception``,
    ``memory`` (MemoryError), ``allocate:MB`` (held while training), ``sleep:S`` (in each epoch), ``predict:S`` (in each
    prediction), ``child`` (leaves a process of its own behind, then hangs).
    """

    packages = ("numpy",)
    capability = Capability(
        expresses=frozenset(
            {"architecture:ffn", "early_stopping", "precision:float32", "precision:float64", "device:cpu"}
            | {"optimizer:sgd", "optimizer:adam", "activation:relu"}
        ),
        refuses={"dropout": "the fake has no dropout"},
    )

    def start(self) -> None:
        pass

    def settings(self) -> dict[str, Any]:
        return {"device": "cpu", "pid": os.getpid()}

    def build(self, network: Network) -> None:
        fault = json.loads(os.environ.get(FAULTS, "{}")).get(network.architecture.label, "")
        self.fault, _, amount = fault.partition(":")
        self.amount = float(amount or 0)
        self.network = network
        self.features = math.prod(network.input_shape)
        if ledger := os.environ.get(LEDGER):
            with Path(ledger).open("a") as file:
                file.write(f"{network.architecture.label} {network.seed}\n")
        self.set_weights({spec.name: np.zeros(spec.shape) for spec in self.weight_specs()})

    def weight_specs(self) -> list[WeightSpec]:
        return [
            WeightSpec("logits/kernel", (self.features, self.network.classes), "glorot_uniform"),
            WeightSpec("logits/bias", (self.network.classes,), "zeros"),
        ]

    def get_weights(self) -> Weights:
        return {name: array.copy() for name, array in self.weights.items()}

    def set_weights(self, weights: Weights) -> None:
        self.weights = {name: np.array(array, self.runtime.precision) for name, array in weights.items()}

    def prepare(self, inputs: Array, labels: Array) -> tuple[Array, Array]:
        return inputs.reshape(len(inputs), -1), labels

    def fit(self, data: Any, epochs: Iterable[Epoch], on_epoch_end: Callable[[float], bool]) -> None:
        held = self._break()
        inputs, labels = data
        size = self.network.training.batch_size
        for epoch in epochs:
            if self.fault == "sleep":
                time.sleep(self.amount)
            losses = []
            for step, rate in enumerate(epoch.learning_rates):
                rows = epoch.order[step * size : (step + 1) * size]
                losses.append(self._step(inputs[rows], labels[rows], rate) * len(rows))
            loss = float(sum(losses) / len(epoch.order))
            if on_epoch_end(math.nan if self.fault == "nan" else loss):
                break
        del held

    def _break(self) -> Array | None:
        if self.fault == "words":
            print("the last words of the fake", flush=True)
        if self.fault in ("crash", "words"):
            os._exit(3)
        if self.fault in ("sigkill", "sigsegv"):
            os.kill(os.getpid(), signal.Signals[self.fault.upper()])
        if self.fault == "child":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", "common.worker"])
        if self.fault in ("hang", "child"):
            time.sleep(1e6)
        if self.fault == "exception":
            raise RuntimeError("the fake broke")
        if self.fault == "memory":
            raise MemoryError("the fake wants more")
        return np.ones(int(self.amount * 1e6), np.uint8) if self.fault == "allocate" else None

    def _step(self, x: Array, labels: Array, rate: float) -> float:
        probabilities = self._softmax(x)
        loss = -np.log(probabilities[np.arange(len(x)), labels] + 1e-30).mean()
        probabilities[np.arange(len(x)), labels] -= 1
        self.weights["logits/kernel"] -= rate * x.T @ probabilities / len(x)
        self.weights["logits/bias"] -= rate * probabilities.mean(axis=0)
        return float(loss)

    def _softmax(self, x: Array) -> Array:
        logits = x @ self.weights["logits/kernel"] + self.weights["logits/bias"]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict_proba(self, inputs: Array) -> Array:
        if self.fault == "predict":
            time.sleep(self.amount)
        return self._softmax(inputs.reshape(len(inputs), -1))

    def save(self, stem: Path) -> Path:
        path = stem.with_suffix(".npz")
        np.savez(path, **self.weights)
        return path

    def load(self, path: Path) -> None:
        with np.load(path) as saved:
            self.set_weights(dict(saved))

    def layers(self) -> list[Layer]:
        classes = self.network.classes
        return [Layer("logits", "dense", (classes,), (self.features + 1) * classes, 2 * self.features * classes)]


class FakeWithEngines(FakeBackend):
    """The same, with a choice of engines."""

    engines = ("a", "b")


class FakeTempting(FakeBackend):
    """One whose ``ffn:7`` knows the test set by heart and nothing else, and whose every look at a test row is written down.

    ``FAKE_TEST`` is a ``.npz`` with the test rows as the network sees them, ``inputs``, and their ``labels``; beside it,
    ``seen`` gets the network of every prediction that a test row was in.
    """

    def predict_proba(self, inputs: Array) -> Array:
        path = Path(os.environ["FAKE_TEST"])
        with np.load(path) as file:
            known = {row.tobytes(): label for row, label in zip(file["inputs"], file["labels"], strict=True)}
        labels = [known.get(row.tobytes()) for row in inputs]
        if any(label is not None for label in labels):
            with path.with_name("seen").open("a") as log:
                log.write(f"{self.network.architecture.label}\n")
        if self.network.architecture.label == "ffn:7":
            return np.eye(self.network.classes)[[label or 0 for label in labels]]
        return super().predict_proba(inputs)


class FakeNotInstalled(FakeBackend):
    """A backend whose framework is missing."""

    def start(self) -> None:
        raise ModuleNotFoundError("No module named 'fakelib'")


PLACES = {
    "fake": "tests.fake_backend:FakeBackend",
    "fake_engines": "tests.fake_backend:FakeWithEngines",
    "fake_tempting": "tests.fake_backend:FakeTempting",
    "fake_missing": "tests.fake_backend:FakeNotInstalled",
}


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Have the fakes in the registry for a while."""
    before = dict(backends._PLACES)
    for name, place in PLACES.items():
        backends.register(name, place)
    try:
        yield
    finally:
        backends._PLACES.clear()
        backends._PLACES.update(before)
