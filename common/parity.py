"""The same network in every framework: trained from the same weights on the same batches, and compared step by step.

What is compared is what ``compare.py`` runs: each framework's own process, :meth:`backends.base.Backend.fit`, weights
and batches from :mod:`common.initial`. After 1, 10, 100 and 300 steps the largest difference of any two frameworks in
any weight, any logit and the loss is the result.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends.base import Array, Backend, Epoch, needs
from common.data import Dataset
from common.initial import epochs, initial_weights
from common.inputs import load_inputs
from common.process import WorkerDied, WorkerProcess
from common.pruning import Pruning
from common.trial import network_of, runtime
from config import Trial, UserError, Vocabulary, expand

STEPS = (1, 10, 100, 300)
TOLERANCES = {"dense": 1e-11, "other": 1e-9}
"""Largest difference allowed in float64 after the last step: dense networks; normalization, convolution, attention."""

_LIMIT_S = 600.0
_STEPS_AT_MOST = 400
_TEST_ROWS = 256


@dataclass(frozen=True)
class Case:
    """One network and one way to train it, for every backend that can express it."""

    name: str
    fields: Mapping[str, Any]
    kind: str = "dense"


def _case(name: str, architecture: Any = "ffn:32-16", kind: str = "dense", **training: Any) -> Case:
    # exact in float32, through which some frameworks pass their constants
    adam = {"beta_1": 0.875, "beta_2": 1 - 2.0**-10, "epsilon": 2.0**-27} if training.get("optimizer") != "sgd" else {}
    fields = {"learning_rate": 2.0**-10, "batch_size": 64, **adam, **training}
    return Case(name, {"architecture": architecture, "training": fields}, kind)


CASES = (
    _case("adam"),
    _case("adamw", optimizer="adamw", weight_decay=2.0**-7),
    _case("sgd", optimizer="sgd", learning_rate=0.125),
    _case("sgd, momentum", optimizer="sgd", learning_rate=0.0625, momentum=0.875),
    _case(
        "sgd, Nesterov momentum, cosine",
        optimizer="sgd",
        learning_rate=0.0625,
        momentum=0.875,
        nesterov=True,
        schedule="cosine",
    ),
    _case("adam, one cycle", schedule="one_cycle", learning_rate=2.0**-8),
    _case("adam, L2", l2=2.0**-10),
    _case("adam, label smoothing", label_smoothing=0.125),
    _case("adam, pruned to a tenth", sparsity=0.9, epochs=24),
    _case("depth 1", "ffn:32"),
    _case("depth 4, tanh", "ffn:4x32:tanh"),
    _case("depth 5, sigmoid", "ffn:5x32:sigmoid"),
    _case("depth 8, relu", "ffn:8x32"),
    # deeper sigmoid networks have gradients so small that Adam divides noise by noise; a larger epsilon ends that
    _case("depth 8, sigmoid, epsilon 2**-10", "ffn:8x32:sigmoid", epsilon=2.0**-10),
    _case("identity", "ffn:32-16:identity"),
    *(_case(name, f"ffn:32-16:{name}") for name in ("elu", "gelu", "leaky_relu", "selu", "silu", "softplus")),
    _case("sigmoid, relu, tanh", "ffn:32-32-32:sigmoid-relu-tanh"),
    _case("batch normalization", {"name": "ffn:32-16", "batch_norm": True}, "other"),
    _case("convolution", {"name": "cnn", "width": 4, "dropout": 0.0}, "other"),
    _case("residual convolution, batch normalization", {"name": "resnet", "width": 4}, "other"),
    _case("convolution with fixed filters", {"name": "fast_cnn", "width": 4, "hidden": 16}, "other"),
    # here, too, some gradients are so small that Adam's division by them would show rounding
    _case(
        "attention of single-weight neurons, epsilon 2**-10",
        {"name": "attention_5k", "stem": 4, "middle": 4, "width": 8, "heads": 2},
        "other",
        epsilon=2.0**-10,
    ),
)


@dataclass(frozen=True)
class Trace:
    """What one framework had after each number of steps: weights, logits of test rows, and the mean loss since."""

    backend: str
    weights: list[dict[str, Array]]
    logits: list[Array]
    losses: list[float]
    reload: float
    """Largest difference that saving and loading made, in any weight or logit."""


@dataclass(frozen=True)
class Verdict:
    """One case's result.

    Attributes
    ----------
    differences : for each of `steps`, the largest difference of any two frameworks in weights, logits and loss.
    tolerance : what the last difference in weights may be; None where nothing is asserted (float32).
    """

    case: Case
    backends: Sequence[str]
    steps: Sequence[int]
    differences: Sequence[tuple[float, float, float]]
    reload: float
    tolerance: float | None

    @property
    def holds(self) -> bool:
        """Whether the frameworks trained the same network."""
        limit = self.tolerance
        return limit is None or all(found <= limit for found in (*self.differences[-1], self.reload))


def trials(case: Case, dataset: Dataset, precision: str, vocabulary: Vocabulary) -> list[Trial]:
    """Return a case's trial in every backend and engine that can express it."""
    found: list[Trial] = []
    for name, engines in vocabulary.backends.items():
        fields: dict[str, list[Any]] = {
            "backend": [name],
            "engine": list(engines) or [None],
            "dataset": [dataset.name],
            "data_sha256": [dataset.sha256],
            "precision": [precision],
            "architecture": [case.fields["architecture"]],
            "training.early_stopping_patience": [None],
            "training.epochs": [_STEPS_AT_MOST],
            **{f"training.{leaf}": [value] for leaf, value in case.fields["training"].items()},
        }
        capability = backends.load(name).capability
        expanded = expand([fields], vocabulary)
        found += [t for t in expanded if capability.reason_against(needs(t, dataset.n_classes)) is None]
    return found


def trace(trial: Trial, backend: Backend, dataset: Dataset, steps: Sequence[int], directory: Path) -> dict[str, Any]:
    """Train one network in this process and write what it had after each number of steps.

    Returns
    -------
    ``losses``, the mean loss of the steps before each mark, and ``reload``, the largest difference that saving and
    loading made. Weights and logits go to ``directory``, an ``.npz`` for each mark.
    """
    data = load_inputs(trial, dataset)
    network = network_of(trial, data.inputs["train"].shape[1:], dataset.n_classes)
    test = data.inputs["test"][:_TEST_ROWS]
    backend.build(network)
    initial = initial_weights(backend.weight_specs(), network, trial.seed)
    backend.set_weights(initial)
    pruning = Pruning.of(trial.training, backend)
    marks, losses = iter(_marked(trial, len(data.labels["train"]), steps)), []
    reached = []

    def plan() -> Iterator[Epoch]:
        for epoch, mark in marks:
            reached.append(mark)
            yield epoch

    def at_mark(loss: float | None) -> bool:
        mark = reached[-1]
        if pruning is not None:
            pruning.epoch_end()
        if mark is not None and loss is not None:
            losses.append(loss)
            arrays: dict[str, Any] = {**backend.get_weights(), "logits": _logits(backend.predict_proba(test))}
            np.savez(directory / f"{mark}.npz", **arrays)
        return mark == steps[-1]

    backend.fit(backend.prepare(data.inputs["train"], data.labels["train"]), plan(), at_mark)
    return {"losses": losses, "reload": _reload(backend, initial, test, directory)}


def _marked(trial: Trial, rows: int, steps: Sequence[int]) -> Iterator[tuple[Epoch, int | None]]:
    """Cut the trial's epochs at the marks: yield each piece, and the mark that it ends at or None."""
    size, done = trial.training.batch_size, 0
    for epoch in epochs(trial.training, rows, trial.seed):
        count, first = len(epoch.learning_rates), 0
        for mark in [*(mark - done for mark in steps if done < mark <= done + count), count]:
            if mark > first:
                piece = Epoch(epoch.order[first * size : mark * size], epoch.learning_rates[first:mark])
                yield piece, done + mark if done + mark in steps else None
                first = mark
        done += count


def _logits(probabilities: Array) -> Array:
    """Return logits up to what softmax leaves open, a constant in each row: here their mean is 0."""
    logs = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def _reload(backend: Backend, other: Mapping[str, Array], test: Array, directory: Path) -> float:
    before, logits = backend.get_weights(), _logits(backend.predict_proba(test))
    path = backend.save(directory / "model")
    backend.set_weights(dict(other))
    backend.load(path)
    after = backend.get_weights()
    changes = [np.abs(after[name] - before[name]).max() for name in before]
    return _largest([*changes, np.abs(_logits(backend.predict_proba(test)) - logits).max()])


def run(
    cases: Sequence[Case],
    dataset: Dataset,
    source: str,
    data_dir: str | None,
    vocabulary: Vocabulary,
    precision: str = "float64",
    steps: Sequence[int] = STEPS,
) -> Iterator[Verdict]:
    """Train every case in every backend that can express it, and yield the verdicts.

    Parameters
    ----------
    source : what :func:`common.data.load` takes for `dataset` in the frameworks' processes.

    Raises
    ------
    UserError
        Where a framework's process ends before its answer.
    """
    workers: dict[Any, WorkerProcess] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number, case in enumerate(cases):
            traces = []
            for trial in trials(case, dataset, precision, vocabulary):
                place = (trial.backend, runtime(trial))
                if place not in workers:
                    workers[place] = WorkerProcess(*place)
                    stack.callback(workers[place].close)
                name = trial.backend + (f"/{trial.engine}" if trial.engine else "")
                folder = directory / f"{number} {name.replace('/', ' ')}"
                folder.mkdir()
                request = {"trial": trial.model_dump(mode="json"), "source": source, "data_dir": data_dir}
                traces.append(_ask(workers[place], name, {**request, "steps": list(steps), "directory": str(folder)}))
            yield _verdict(case, traces, steps, precision)


def _ask(worker: WorkerProcess, name: str, request: dict[str, Any]) -> Trace:
    try:
        answer = worker.ask({"trace": request}, _LIMIT_S)
    except WorkerDied as death:
        raise UserError(f"parity: {name} ended early: {death}") from death
    weights, logits = [], []
    for mark in request["steps"]:
        with np.load(Path(request["directory"]) / f"{mark}.npz", allow_pickle=False) as file:
            weights.append({key: file[key] for key in file.files if key != "logits"})
            logits.append(file["logits"])
    # JSON has no NaN: what was none is null
    losses = [float("nan") if loss is None else loss for loss in answer["losses"]]
    return Trace(name, weights, logits, losses, float("nan") if answer["reload"] is None else answer["reload"])


def _verdict(case: Case, traces: Sequence[Trace], steps: Sequence[int], precision: str) -> Verdict:
    pairs = list(itertools.combinations(traces, 2))
    differences = [
        (
            _largest(_weights_apart(a.weights[mark], b.weights[mark]) for a, b in pairs),
            _largest(np.abs(a.logits[mark] - b.logits[mark]).max() for a, b in pairs),
            _largest(abs(a.losses[mark] - b.losses[mark]) for a, b in pairs),
        )
        for mark in range(len(steps))
    ]
    tolerance = TOLERANCES[case.kind] if precision == "float64" else None
    names = [trace.backend for trace in traces]
    return Verdict(case, names, steps, differences, _largest(trace.reload for trace in traces), tolerance)


def _weights_apart(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    if a.keys() != b.keys():
        return float("inf")
    return _largest(np.abs(a[name] - b[name]).max() for name in a)


def _largest(differences: Iterable[float]) -> float:
    """Return the largest, and NaN where one is: Python's `max` would pass over it."""
    return float(np.max([*differences]))


def table(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as text: the largest difference in weights after each number of steps, then logits and loss."""
    steps = verdicts[0].steps
    header = ["case", "frameworks", *(f"weights @{mark}" for mark in steps), "logits", "loss", "reload", "verdict"]
    rows = [header, *(_row(verdict) for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _row(verdict: Verdict) -> list[str]:
    last = verdict.differences[-1]
    figures = [*(weights for weights, _, _ in verdict.differences), last[1], last[2], verdict.reload]
    word = "same" if verdict.holds else f"DIFFERS (over {verdict.tolerance:.0e})"
    return [
        verdict.case.name,
        ", ".join(verdict.backends),
        *(f"{value:.0e}" if value else "0" for value in figures),
        "-" if verdict.tolerance is None else word,
    ]
