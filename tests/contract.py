"""The checks every backend must pass, run in a process of the backend's own: ``python -m tests.contract BACKEND ENGINE WAY``.

Each function named ``check_*`` is one check. It raises AssertionError where the backend breaks the contract, and Skip
where the backend says, through its capability, that the check is not for it.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import backends
from backends.base import Backend, Epoch, Network, Runtime, Weights
from backends.models import catalog
from common.initial import epochs, initial_weights
from config import FeedForward, Registered, Training

FFN = FeedForward(hidden_layer_sizes=(32, 16))
TRAINING = Training(epochs=3, batch_size=64, learning_rate=0.01, early_stopping_patience=None)
DIGITS = Network(FFN, (8, 8, 1), 10, TRAINING)
STABLE = 1e-6


class Skip(Exception):
    """The backend's capability rules the check out."""


def digits(rows: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = load_digits(return_X_y=True)
    return (inputs / 16).reshape(-1, 8, 8, 1).astype(np.float32)[:rows], labels.astype(np.int64)[:rows]


def built(backend: Backend, network: Network, seed: int = 0) -> Weights:
    """Build `network` and give it the initial weights of `seed`, which are returned."""
    if backend.runtime.idiomatic:
        network = replace(network, protocol="native", seed=network.seed + seed)
        backend.build(network)
        weights = backend.get_weights()
    else:
        backend.build(network)
        weights = initial_weights(backend.weight_specs(), network, seed)
    backend.set_weights(weights)
    return weights


def trained(backend: Backend, network: Network, rows: int = 1500) -> Weights:
    """Build and train `network` on the first `rows` digits; return the weights it ends with."""
    built(backend, network)
    fit(backend, network, rows)
    return backend.get_weights()


def fit(backend: Backend, network: Network, rows: int = 1500) -> list[float]:
    inputs, labels = digits(rows)
    losses: list[float] = []
    plan = epochs(network.training, len(labels), seed=0)
    backend.fit(backend.prepare(inputs, labels % network.classes), plan, lambda loss: bool(losses.append(loss)))
    return losses


def expresses(backend: Backend, *wanted: str) -> None:
    reason = backend.capability.reason_against(wanted)
    if reason is not None:
        raise Skip(reason)


def check_weights_have_canonical_names_and_shapes(backend: Backend) -> None:
    backend.build(DIGITS)
    found = {spec.name: spec.shape for spec in backend.weight_specs()}
    assert found == {
        "hidden_0/kernel": (64, 32), "hidden_0/bias": (32,),
        "hidden_1/kernel": (32, 16), "hidden_1/bias": (16,),
        "logits/kernel": (16, 10), "logits/bias": (10,),
    }  # fmt: skip


def check_an_epochs_own_inputs_take_the_place_of_the_data(backend: Backend) -> None:
    inputs, labels = digits()
    others = np.ascontiguousarray(inputs[::-1])
    plan = list(epochs(DIGITS.training, len(labels), seed=0))
    backend.build(DIGITS)
    initial = initial_weights(backend.weight_specs(), DIGITS, 3)
    found = []
    for prepared, own in ((others, None), (inputs, others)):
        backend.set_weights(initial)
        given = [replace(epoch, inputs=own) for epoch in plan]
        backend.fit(backend.prepare(prepared, labels), given, lambda loss: False)
        found.append(backend.get_weights())
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def check_weights_round_trip(backend: Backend) -> None:
    given = {name: array.astype(np.float32) for name, array in built(backend, DIGITS, seed=3).items()}
    taken = backend.get_weights()
    assert given.keys() == taken.keys()
    assert all(np.array_equal(given[name], taken[name]) for name in given)
    taken["logits/bias"] += 1
    assert np.array_equal(backend.get_weights()["logits/bias"], given["logits/bias"]), "get_weights gave no copy"


def check_parameter_count_equals_formula(backend: Backend) -> None:
    for sizes in ((5,), (7, 3), (32, 32, 32)):
        network = replace(DIGITS, architecture=FeedForward(hidden_layer_sizes=sizes))
        backend.build(network)
        widths = [64, *sizes, 10]
        formula = sum(a * b + b for a, b in itertools.pairwise(widths))
        products = sum(2 * a * b for a, b in itertools.pairwise(widths))
        assert sum(math.prod(spec.shape) for spec in backend.weight_specs() if spec.trainable) == formula
        assert sum(layer.parameters for layer in backend.layers()) == formula
        assert sum(layer.flops for layer in backend.layers()) == products


def check_layers_hold_every_parameter_of_every_architecture(backend: Backend) -> None:
    for name, declared in catalog().items():
        if backend.capability.reason_against([f"architecture:{name}"]) is None:
            architecture = Registered(name=name, options=dict(declared.options))
            backend.build(replace(DIGITS, architecture=architecture, input_shape=(28, 28, 1)))
            layers = backend.layers()
            trainable = sum(math.prod(spec.shape) for spec in backend.weight_specs() if spec.trainable)
            assert sum(layer.parameters for layer in layers) == trainable, name
            assert all(layer.flops is not None for layer in layers), name


def check_predict_proba_sums_to_one(backend: Backend) -> None:
    trained(backend, DIGITS)
    inputs, _ = digits()
    found = backend.predict_proba(inputs)
    assert found.shape == (1500, 10)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found >= 0).all()
    single = backend.predict_proba(inputs[7:8])
    assert np.allclose(single, found[7:8], atol=1e-5), "a row's probabilities depend on the rows beside it"


def check_forward_pass_equals_numpy(backend: Backend) -> None:
    references: Mapping[str, Callable[[Any], Any]] = {
        "relu": lambda z: np.maximum(z, 0),
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "tanh": np.tanh,
        "identity": lambda z: z,
        "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        "gelu": lambda z: 0.5 * z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))),
        "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
        "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0))),
        "silu": lambda z: z / (1 + np.exp(-z)),
        "softplus": lambda z: np.logaddexp(z, 0),
    }
    inputs, _ = digits(50)
    checked = 0
    for name, activation in references.items():
        if backend.capability.reason_against([f"activation:{name}"]):
            continue
        weights = built(
            backend, replace(DIGITS, architecture=FeedForward(hidden_layer_sizes=(16,), activations=(name,)))
        )
        hidden = activation(inputs.reshape(50, -1) @ weights["hidden_0/kernel"] + weights["hidden_0/bias"])
        logits = hidden @ weights["logits/kernel"] + weights["logits/bias"]
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert np.allclose(backend.predict_proba(inputs), expected, atol=STABLE), name
        checked += 1
    assert checked >= 4


def check_products_are_as_precise_as_asked_for(backend: Backend) -> None:
    inputs, _ = digits(200)
    weights = built(backend, replace(DIGITS, architecture=FeedForward(hidden_layer_sizes=(16,))))
    assert all(array.dtype == np.float32 for array in backend.get_weights().values())
    hidden = np.maximum(inputs.reshape(200, -1) @ weights["hidden_0/kernel"] + weights["hidden_0/bias"], 0)
    powers = np.exp(hidden @ weights["logits/kernel"] + weights["logits/bias"])
    found = backend.predict_proba(inputs)
    off = np.abs(found / (powers / powers.sum(axis=1, keepdims=True)) - 1).max()
    assert found.dtype == np.float32
    # a bfloat16 has 8 bits, a float32 24
    low, high = (1e-3, 0.1) if backend.runtime.precision == "bfloat16" else (0, 1e-5)
    assert low <= off < high, off


def check_learns_digits(backend: Backend) -> None:
    network = replace(DIGITS, training=TRAINING.model_copy(update={"epochs": 20}))
    trained(backend, network)
    inputs, labels = load_digits(return_X_y=True)
    held_out = (inputs[1500:] / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    accuracy = (backend.predict_proba(held_out).argmax(axis=1) == labels[1500:]).mean()
    assert accuracy > 0.88, accuracy


def check_same_seed_gives_same_bits(backend: Backend) -> None:
    first = trained(backend, DIGITS)
    again = trained(backend, DIGITS)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def check_pruned_weights_stay_zero_and_the_others_train_on(backend: Backend) -> None:
    expresses(backend, "sparsity")
    if backend.runtime.idiomatic:
        raise Skip("its own loop holds no weights at zero")
    network = replace(DIGITS, training=TRAINING.model_copy(update={"sparsity": 0.5}))
    built(backend, network)
    inputs, labels = digits()
    rng = np.random.default_rng(0)
    kept = {name: rng.random(array.shape) < 0.5 for name, array in backend.get_weights().items() if "kernel" in name}
    after: list[Weights] = []

    def epoch_end(_: float | None) -> bool:
        if not after:
            backend.prune(kept)
        after.append(backend.get_weights())
        return False

    backend.fit(backend.prepare(inputs, labels), epochs(network.training, len(labels), seed=0), epoch_end)
    for found in after:
        assert all((found[name][~mask] == 0).all() for name, mask in kept.items())
    assert all((after[-1][name][mask] != after[0][name][mask]).mean() > 0.5 for name, mask in kept.items())
    initial = built(backend, network)
    backend.fit(backend.prepare(inputs, labels), epochs(network.training, len(labels), seed=0), lambda loss: True)
    again = backend.get_weights()
    assert all((again[name][initial[name] != 0] != 0).mean() > 0.9 for name in kept), "set_weights keeps the masks"


def check_set_weights_forgets_the_optimizer(backend: Backend) -> None:
    initial = built(backend, DIGITS)
    fit(backend, DIGITS)
    first = backend.get_weights()
    backend.set_weights(initial)
    fit(backend, DIGITS)
    again = backend.get_weights()
    assert all(np.array_equal(first[name], again[name]) for name in first)


def check_batch_order_is_followed_but_by_loops_that_shuffle(backend: Backend) -> None:
    inputs, labels = digits(100)
    ends = []
    for order in (np.arange(100), np.arange(100), np.arange(100)[::-1].copy()):
        built(backend, DIGITS)
        rates = np.full(2, 0.01)
        backend.fit(backend.prepare(inputs, labels), [Epoch(order, rates)], lambda loss: False)
        ends.append(backend.get_weights()["logits/kernel"])
    assert np.array_equal(ends[0], ends[1])
    if backend.runtime.idiomatic:
        assert np.array_equal(ends[0], ends[2]), "its own loop took the harness's order"
    else:
        assert not np.allclose(ends[0], ends[2], atol=1e-5)


def check_learning_rates_are_followed(backend: Backend) -> None:
    inputs, labels = digits(192)
    for optimizer in ("sgd", "adam"):
        network = replace(DIGITS, training=TRAINING.model_copy(update={"optimizer": optimizer}))
        prepared = backend.prepare(inputs, labels)
        initial = built(backend, network)
        backend.fit(prepared, [Epoch(np.arange(192), np.array([0.5, 0.0, 0.0]))], lambda loss: False)
        first_only = backend.get_weights()
        built(backend, network)
        backend.fit(prepared, [Epoch(np.arange(64), np.array([0.5]))], lambda loss: False)
        assert all(np.allclose(first_only[name], array, atol=1e-5) for name, array in backend.get_weights().items())
        assert not np.allclose(first_only["logits/kernel"], initial["logits/kernel"], atol=1e-3)


def check_each_epochs_learning_rate_is_followed(backend: Backend) -> None:
    inputs, labels = digits(100)
    built(backend, DIGITS)
    ends: list[Weights] = []
    plan = [Epoch(np.arange(100), np.full(2, rate)) for rate in (0.01, 0.0, 0.01)]
    backend.fit(backend.prepare(inputs, labels), plan, lambda loss: bool(ends.append(backend.get_weights())))
    kernels = [weights["logits/kernel"] for weights in ends]
    assert np.allclose(kernels[0], kernels[1], atol=1e-6)
    assert not np.allclose(kernels[1], kernels[2], atol=1e-3)


def check_last_partial_batch_counts(backend: Backend) -> None:
    inputs, labels = digits(100)
    built(backend, DIGITS)
    backend.fit(backend.prepare(inputs, labels), [Epoch(np.arange(100), np.full(2, 0.01))], lambda loss: False)
    both = backend.get_weights()
    built(backend, DIGITS)
    backend.fit(backend.prepare(inputs, labels), [Epoch(np.arange(64), np.full(1, 0.01))], lambda loss: False)
    assert not np.allclose(both["logits/kernel"], backend.get_weights()["logits/kernel"], atol=1e-5)


def check_epoch_loss_is_the_mean_cross_entropy(backend: Backend) -> None:
    inputs, labels = digits(100)
    for l2 in (0.0, 0.1):
        network = replace(DIGITS, training=TRAINING.model_copy(update={"l2": l2, "optimizer": "sgd"}))
        weights = built(backend, network)
        probabilities = backend.predict_proba(inputs)
        expected = -np.log(probabilities[np.arange(100), labels]).mean()
        expected += 0.5 * l2 * sum((array**2).sum() for name, array in weights.items() if name.endswith("kernel"))
        losses: list[float] = []
        still = [Epoch(np.arange(100), np.full(2, 1e-12))]
        backend.fit(backend.prepare(inputs, labels), still, lambda loss: bool(losses.append(loss)))  # noqa: B023
        assert np.allclose(losses, [expected], rtol=1e-5), (losses, expected)


def check_training_ends_where_it_is_told(backend: Backend) -> None:
    built(backend, DIGITS)
    inputs, labels = digits(200)
    seen: list[float] = []

    def stop_after_two(loss: float) -> bool:
        seen.append(loss)
        return len(seen) == 2

    backend.fit(backend.prepare(inputs, labels), epochs(TRAINING, 200, 0), stop_after_two)
    assert len(seen) == 2


def check_save_and_load_give_equal_predictions(backend: Backend) -> None:
    trained(backend, DIGITS)
    inputs, _ = digits()
    before = backend.predict_proba(inputs)
    with tempfile.TemporaryDirectory() as directory:
        path = backend.save(Path(directory) / "model")
        assert path.stat().st_size < 60_000, "more than the weights was saved"
        built(backend, DIGITS, seed=9)
        assert not np.allclose(backend.predict_proba(inputs), before, atol=0.01)
        backend.load(path)
    assert np.array_equal(backend.predict_proba(inputs), before)


def check_follows_shape_and_classes(backend: Backend) -> None:
    expresses(backend, "architecture:ffn")
    rng = np.random.default_rng(0)
    for shape, classes in (((5, 4, 3), 3), ((7,), 4)):
        network = replace(DIGITS, input_shape=shape, classes=classes)
        built(backend, network)
        inputs = rng.normal(size=(40, *shape)).astype(np.float32)
        prepared = backend.prepare(inputs, np.arange(40) % classes)
        backend.fit(prepared, epochs(TRAINING, 40, 0), lambda loss: False)
        assert backend.predict_proba(inputs).shape == (40, classes)


def check_dropout_acts_in_training_alone(backend: Backend) -> None:
    expresses(backend, "dropout")
    dropping = replace(DIGITS, architecture=FeedForward(hidden_layer_sizes=(32, 16), dropout=0.5))
    first, again = trained(backend, dropping), trained(backend, dropping)
    assert all(np.array_equal(first[name], again[name]) for name in first), "dropout's masks are not seeded"
    other = trained(backend, replace(dropping, seed=1))
    assert not np.allclose(first["logits/kernel"], other["logits/kernel"], atol=1e-4), (
        "the seed does not reach the masks"
    )
    inputs, _ = digits()
    assert np.array_equal(backend.predict_proba(inputs), backend.predict_proba(inputs))


def check_batch_norm_keeps_moving_statistics(backend: Backend) -> None:
    expresses(backend, "batch_norm")
    network = replace(DIGITS, architecture=FeedForward(hidden_layer_sizes=(32, 16), batch_norm=True))
    initial = built(backend, network)
    assert {spec.name: spec.trainable for spec in backend.weight_specs()}["batch_norm_0/moving_mean"] is False
    losses = fit(backend, network)
    after = backend.get_weights()
    assert losses[-1] < losses[0]
    for name in ("batch_norm_0/moving_mean", "batch_norm_1/moving_variance", "batch_norm_0/gamma"):
        assert not np.allclose(after[name], initial[name], atol=1e-4), name


def check_batch_norm_takes_a_batch_of_one_row(backend: Backend) -> None:
    expresses(backend, "batch_norm")
    network = replace(DIGITS, architecture=FeedForward(hidden_layer_sizes=(32, 16), batch_norm=True))
    initial, after = built(backend, network), trained(backend, network, rows=2 * 64 + 1)
    assert all(np.isfinite(array).all() for array in after.values())
    assert not np.allclose(after["batch_norm_0/moving_mean"], initial["batch_norm_0/moving_mean"], atol=1e-4)


def check_two_classes_have_two_logits(backend: Backend) -> None:
    expresses(backend, "two_classes")
    network = replace(DIGITS, classes=2, training=TRAINING.model_copy(update={"l2": 0.001}))
    initial = built(backend, network)
    assert initial["logits/kernel"].shape == (16, 2)
    losses = fit(backend, network)
    weights, (inputs, labels) = backend.get_weights(), digits(200)
    assert losses[-1] < losses[0]
    hidden = inputs.reshape(200, -1)
    for layer in ("hidden_0", "hidden_1"):
        hidden = np.maximum(hidden @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"], 0)
    powers = np.exp(hidden @ weights["logits/kernel"] + weights["logits/bias"])
    found = backend.predict_proba(inputs)
    assert np.allclose(found, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    assert (found.argmax(axis=1) == labels % 2).mean() > 0.9
    with tempfile.TemporaryDirectory() as directory:
        path = backend.save(Path(directory) / "model")
        backend.set_weights(initial)
        backend.load(path)
    assert np.allclose(backend.predict_proba(inputs), found, atol=STABLE)


CASES: dict[str, Network] = {
    "optimizer:sgd": replace(DIGITS, training=Training(epochs=1, optimizer="sgd", momentum=0.5, nesterov=True)),
    "optimizer:adamw": replace(DIGITS, training=Training(epochs=1, optimizer="adamw", weight_decay=0.01)),
    "label_smoothing": replace(DIGITS, training=Training(epochs=1, label_smoothing=0.1)),
    "l2": replace(DIGITS, training=Training(epochs=1, l2=0.01)),
    "schedule:cosine": replace(DIGITS, training=Training(epochs=1, schedule="cosine")),
    "schedule:step": replace(DIGITS, training=Training(epochs=1, schedule="step")),
    "schedule:one_cycle": replace(DIGITS, training=Training(epochs=1, schedule="one_cycle")),
    "two_classes": replace(DIGITS, classes=2),
    "mixed_activations": replace(
        DIGITS, architecture=FeedForward(hidden_layer_sizes=(8, 8), activations=("tanh", "relu"))
    ),
}


def check_capability_is_honoured(backend: Backend) -> None:
    for need, network in CASES.items():
        if backend.capability.reason_against([need]) is None:
            weights = trained(backend, network, rows=200)
            assert all(np.isfinite(array).all() for array in weights.values()), need


def check_every_trial_is_fenced(backend: Backend) -> None:
    """Run a whole trial, and see every timed part begin and end with the backend's synchronise."""
    from common import data, trial
    from config import Trial

    calls = [0]
    synchronise = backend.synchronise

    def counting() -> None:
        calls[0] += 1
        synchronise()

    backend.synchronise = counting  # type: ignore[method-assign]
    ways: dict[str, Any] = {"loop": "idiomatic", "protocol": "native"} if backend.runtime.idiomatic else {}
    spec = Trial(backend=sys.argv[1], architecture=FFN, dataset="digits", training=TRAINING, rows=300, **ways)
    with tempfile.TemporaryDirectory() as directory:
        record = trial.run_trial(spec, backend, data.load("digits"), Path(directory), fresh=True)
    backend.synchronise = synchronise  # type: ignore[method-assign]
    assert record["status"] == "ok", record["error"]
    # data, build, first step, test, save: two each; an epoch: two for training, two for validation
    assert calls[0] >= 10 + 4 * TRAINING.epochs, calls[0]


CHECKS = {name: value for name, value in sorted(globals().items()) if name.startswith("check_")}
WAYS: dict[str, tuple[dict[str, Any], list[str]]] = {"": ({}, list(CHECKS))}
WAYS["idiomatic"] = (
    {"loop": "idiomatic"},
    [
        "check_learns_digits",
        "check_same_seed_gives_same_bits",
        "check_each_epochs_learning_rate_is_followed",
        "check_batch_order_is_followed_but_by_loops_that_shuffle",
        "check_training_ends_where_it_is_told",
        "check_save_and_load_give_equal_predictions",
        "check_every_trial_is_fenced",
    ],
)
WAYS["bfloat16"] = ({"precision": "bfloat16"}, ["check_learns_digits", "check_products_are_as_precise_as_asked_for"])
"""By name, other runtimes than the default, and the checks that concern them."""


def main() -> None:
    """Run every check and print the outcomes as one JSON object."""
    name, engine, way = sys.argv[1:]
    runtime, checks = WAYS[way]
    backend = backends.load(name)(Runtime(engine=engine or None, threads=1, **runtime))
    backend.start()
    outcomes = {}
    for check in checks:
        try:
            CHECKS[check](backend)
            outcomes[check] = "passed"
        except Skip as reason:
            outcomes[check] = f"skipped: {reason}"
        except Exception:
            outcomes[check] = traceback.format_exc()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
