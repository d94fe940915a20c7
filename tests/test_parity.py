"""The same network in every framework and engine, asserted in float64; and parity sees what is wrong."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import backends
from common import data, parity
from config import FeedForward, Vocabulary

CASES = {case.name: case for case in parity.CASES}
ENGINES = ("keras/tensorflow", "keras/torch", "keras/jax")


FAST = ("adam, L2", "sgd, Nesterov momentum, cosine", "convolution")
"""One of each optimizer and one convolution; all of them take minutes, most of which engines compile."""
OTHERS = tuple(name for name in CASES if name not in FAST)


@functools.cache
def verdicts(names: tuple[str, ...]) -> dict[str, parity.Verdict]:
    """Run each case once, each framework in one process for all of them."""
    cases = [CASES[name] for name in names]
    found = parity.run(cases, data.load("digits"), "digits", None, backends.vocabulary())
    return {verdict.case.name: verdict for verdict in found}


@pytest.mark.parametrize("name", FAST)
def test_frameworks_train_the_same_network(name: str) -> None:
    check(verdicts(FAST)[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_frameworks_train_every_same_network(name: str) -> None:
    check(verdicts(OTHERS)[name])


def check(verdict: parity.Verdict) -> None:
    limit = {"dense": 1e-11, "other": 1e-9}[verdict.case.kind]
    assert verdict.steps[-1] == 300
    assert all(found <= limit for found in verdict.differences[-1]), parity.table([verdict])
    assert verdict.reload <= limit
    assert verdict.holds
    assert {*ENGINES, "torch"} <= set(verdict.backends)


@pytest.mark.slow
def test_dense_cases_that_scikit_learn_can_express_hold_it() -> None:
    found = verdicts(FAST) | verdicts(OTHERS)
    with_sklearn = [name for name, verdict in found.items() if "sklearn" in verdict.backends]
    assert len(with_sklearn) >= 12
    assert {"adam", "sgd", "sgd, momentum", "sgd, Nesterov momentum, cosine", "adam, L2"} <= set(with_sklearn)


def test_every_optimizer_activation_and_depth_from_1_to_8_is_there() -> None:
    specs = [parity.trials(case, data.load("digits"), "float64", backends.vocabulary())[-1] for case in parity.CASES]
    assert {spec.training.optimizer for spec in specs} == {"sgd", "adam", "adamw"}
    depths = {len(spec.architecture.hidden_layer_sizes) for spec in specs if spec.architecture.name == "ffn"}
    assert {1, 8} <= depths
    used = {name for spec in specs if spec.architecture.name == "ffn" for name in spec.architecture.activations}
    assert len(used) == 10


@pytest.mark.parametrize(
    ("wrong", "case"),
    [
        ("WrongEpsilon", "adam"),
        pytest.param("WrongL2", "adam, L2", marks=pytest.mark.slow),
        pytest.param("WrongInitialWeight", "adam", marks=pytest.mark.slow),
        pytest.param("WrongBatchOrder", "adam", marks=pytest.mark.slow),
        pytest.param("WrongLearningRate", "sgd", marks=pytest.mark.slow),
        pytest.param("NotANumber", "adam", marks=pytest.mark.slow),
    ],
)
def test_parity_sees_what_is_wrong(wrong: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends._PLACES, "broken", f"tests.broken:{wrong}")
    vocabulary = Vocabulary({"sklearn": (), "broken": ()})
    (verdict,) = parity.run([CASES[case]], data.load("digits"), "digits", None, vocabulary)
    assert not verdict.holds
    assert not verdict.differences[-1][0] <= 1e-11
    assert "DIFFERS" in parity.table([verdict])


def test_the_right_backend_passes_where_the_wrong_ones_fail() -> None:
    vocabulary = Vocabulary({"sklearn": (), "torch": ()})
    (verdict,) = parity.run([CASES["adam, L2"]], data.load("digits"), "digits", None, vocabulary)
    assert verdict.holds


@pytest.mark.slow
def test_float32_drifts_and_asserts_nothing() -> None:
    vocabulary = Vocabulary({"sklearn": (), "torch": ()})
    dataset = data.load("digits")
    (verdict,) = parity.run([CASES["adam"]], dataset, "digits", None, vocabulary, precision="float32")
    assert 1e-9 < verdict.differences[-1][0] < 1e-2
    assert verdict.tolerance is None
    assert verdict.holds


def test_softplus_is_exact_where_pytorchs_own_is_not() -> None:
    torch = pytest.importorskip("torch")
    from backends.models.torch_ffn import feed_forward

    spec = FeedForward(hidden_layer_sizes=(1,), activations=("softplus",))
    softplus = feed_forward(spec, (1,), 2, native=False).activation_0
    assert float(softplus(torch.tensor(21.0, dtype=torch.float64))) == pytest.approx(np.logaddexp(21, 0), rel=1e-15)


def test_pieces_of_an_epoch_are_the_epoch() -> None:
    (trial, *_) = parity.trials(CASES["adam"], data.load("digits"), "float64", Vocabulary({"torch": ()}))
    pieces = []
    marks = []
    for piece, mark in parity._marked(trial, 1294, (1, 10, 30)):
        pieces.append(piece)
        marks.append(mark)
        if mark == 30:
            break
    assert [mark for mark in marks if mark] == [1, 10, 30]
    assert np.array_equal(np.sort(np.concatenate([piece.order for piece in pieces[:3]])), np.arange(1294))
