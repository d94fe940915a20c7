"""Trials trained as one program: the same networks as alone, and records that say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from backends.base import Backend, Network, Runtime, Weights
from backends.torch_net import TorchBackend
from common import store
from common.initial import epochs, initial_weights
from common.many import together
from config import FeedForward, Training, Trial
from tests.command import call, study, the_run

TRAINING = Training(epochs=1, batch_size=64, early_stopping_patience=None)


@pytest.fixture(scope="module")
def backend() -> Backend:
    made = TorchBackend(Runtime(threads=1))
    made.start()
    return made


def networks(training: Training, rates: Sequence[float], *shapes: FeedForward) -> list[Network]:
    """Two seeds of each shape at each learning rate, those of one rate beside each other."""
    trainings = [training.model_copy(update={"learning_rate": rate}) for rate in rates]
    return [Network(shape, (8, 8, 1), 10, one, seed) for one in trainings for shape in shapes for seed in range(2)]


def trained_both_ways(backend: Backend, networks: Sequence[Network]) -> list[tuple[Weights, Weights]]:
    """Train networks on the digits, alone and together; return the weights that each ends with."""
    inputs, labels = load_digits(return_X_y=True)
    alone, firsts, plans = [], [], []
    for network in networks:
        backend.build(network)
        firsts.append(initial_weights(backend.weight_specs(), network, network.seed))
        plans.append(list(epochs(network.training, 1700, network.seed)))
        prepared = backend.prepare((inputs / 16).reshape(-1, 8, 8, 1).astype(np.float32), labels)
        backend.set_weights(firsts[-1])
        backend.fit(prepared, plans[-1], lambda loss: False)
        alone.append(backend.get_weights())
    stacked: list[Weights] = []
    backend.fit_many(
        networks,
        firsts,
        prepared,
        zip(*plans, strict=True),
        lambda _, weights: bool(stacked.extend(weights(place) for place in range(len(networks)))),
    )
    return list(zip(alone, stacked, strict=True))


SAME = FeedForward(hidden_layer_sizes=(32, 16))
WIDTHS = [FeedForward(hidden_layer_sizes=sizes, activations=("sigmoid", "relu")) for sizes in ((32, 8), (4, 16))]


@pytest.mark.parametrize(
    ("changes", "rates", "shapes"),
    [
        ({}, [0.01], [SAME]),
        ({}, [0.001, 0.01], [SAME]),
        ({}, [0.01], WIDTHS),
        ({"optimizer": "sgd", "momentum": 0.5, "nesterov": True, "schedule": "one_cycle"}, [0.01, 0.05], WIDTHS),
        ({"optimizer": "adamw", "weight_decay": 0.1, "label_smoothing": 0.1}, [0.01], WIDTHS),
        ({"l2": 0.01}, [0.001, 0.01], WIDTHS),
    ],
)
def test_networks_trained_together_end_as_alone(
    backend: Backend, changes: dict[str, object], rates: list[float], shapes: list[FeedForward]
) -> None:
    training = Training.model_validate({**TRAINING.model_dump(), **changes})
    pairs = trained_both_ways(backend, networks(training, rates, *shapes))
    for alone, stacked in pairs:
        assert {name: array.shape for name, array in stacked.items()} == {n: a.shape for n, a in alone.items()}
        assert max(np.abs(alone[name] - stacked[name]).max() for name in alone) < 1e-5
    assert np.abs(pairs[0][0]["logits/kernel"] - pairs[1][0]["logits/kernel"]).max() > 0.01, "seeds do not differ"


FFN = Trial(backend="torch", architecture=SAME)


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({"seed": 1}, True),
        ({"training": TRAINING.model_copy(update={"learning_rate": 0.1})}, False),
        ({"training": Training(learning_rate=0.1)}, True),
        ({"architecture": FeedForward(hidden_layer_sizes=(4, 4))}, True),
        ({"architecture": FeedForward(hidden_layer_sizes=(4,))}, False),
        ({"architecture": FeedForward(hidden_layer_sizes=(4, 4), activations=("tanh",))}, False),
        ({"train_share": 0.7}, False),
        ({"threads": 2}, False),
    ],
)
def test_together_are_trials_that_differ_in_seed_rate_and_widths(changes: dict[str, object], alike: bool) -> None:
    found = list(together([FFN, FFN.model_copy(update=changes)], 9, lambda _: TorchBackend.capability))
    assert len(found) == (1 if alike else 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": FeedForward(hidden_layer_sizes=(8,), dropout=0.1)},
        {"architecture": FeedForward(hidden_layer_sizes=(8,), batch_norm=True)},
        {"features": FFN.features.model_copy(update={"pca": 4})},
        {"features": FFN.features.model_copy(update={"scaling": "standard"})},
        {"training": Training(augmentation="shift")},
        {"precision": "bfloat16"},
        {"loop": "idiomatic", "protocol": "native"},
    ],
)
def test_what_cannot_be_trained_together_is_trained_alone(changes: dict[str, object]) -> None:
    trials = [FFN.model_copy(update={**changes, "seed": seed}) for seed in range(3)]
    assert [len(one) for one in together(trials, 9, lambda _: TorchBackend.capability)] == [1, 1, 1]


def test_no_more_than_asked_for_are_trained_together() -> None:
    trials = [FFN.model_copy(update={"seed": seed}) for seed in range(5)]
    assert [len(one) for one in together(trials, 2, lambda _: TorchBackend.capability)] == [2, 2, 1]
    assert [len(one) for one in together(trials, 1, lambda _: TorchBackend.capability)] == [1] * 5


@pytest.mark.slow
def test_a_run_in_batches_has_the_scores_of_one_alone_and_marks_its_times(tmp_path: Path) -> None:
    training = {"optimizer": "adam", "epochs": 30, "learning_rate": [0.01, 0.003], "early_stopping_patience": 2}
    path = study(tmp_path, backend="torch", architecture=["ffn:16", "ffn:32"], seeds=2, threads=1, training=training)
    runs = []
    for results, flags in ((tmp_path / "alone", []), (tmp_path / "batches", ["--batch-trials", 6])):
        outcome = call("--study", path, "--results", results, *flags)
        assert outcome.status == 0, outcome.err
        runs.append(store.load(store.Run(the_run(results))).set_index("key").sort_index())
    alone, batches = runs
    assert sorted(batches["batched"]) == [2, 2, 6, 6, 6, 6, 6, 6] and alone["batched"].isna().all()
    for name in (
        "test_accuracy",
        "epochs",
        "best_epoch",
        "parameters",
        "model_bytes",
        "n_train",
        "untrained_parameters",
    ):
        assert (alone[name] == batches[name]).all(), name
    assert np.allclose(alone["test_log_loss"], batches["test_log_loss"], atol=1e-4)
    assert alone["epochs"].nunique() > 1, "early stopping ended all at once"
    assert batches["contended"].all() and not alone["contended"].any()
    assert batches["fit_s"].gt(0).all() and batches["latency_ms_p50"].isna().all()
    assert "† timed" in outcome.out


def test_one_that_diverges_leaves_the_others_of_its_batch_alone(tmp_path: Path) -> None:
    training = {"optimizer": "sgd", "learning_rate": [0.1, 1000.0], "epochs": 5, "early_stopping_patience": None}
    path = study(tmp_path, backend="torch", architecture="ffn:16-16:identity", seeds=2, threads=1, training=training)
    outcome = call("--study", path, "--results", tmp_path / "results", "--batch-trials", 9)
    records = store.load(store.Run(the_run(tmp_path / "results")))
    by_rate = records.groupby("learning_rate")["status"].agg(list).to_dict()
    assert by_rate == {0.1: ["ok", "ok"], 1000.0: ["diverged", "diverged"]}
    assert outcome.status == 1
