"""What a plan would take, before anything is run: the number of trials, and a rough time."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from common.inputs import cut, input_shape
from common.profiler import Profiler
from common.progress import duration
from common.runner import Options, kept, refusal, unfinished
from common.studies import Plan
from config import FeedForward, Trial

# Measured on 2 cores of an AVX-512 server, float32, batches of 32 to 128: a step costs a fixed time, its products, and,
# in other networks than feed-forward ones, the numbers that its layers hand on. Attention's products are many and small.
_STEP_S = {"sklearn": 0.9e-3, "keras": 0.8e-3, "torch": 0.5e-3}
_OTHER_STEP_S = 1e-3
_DENSE_FLOPS_PER_S, _OTHER_FLOPS_PER_S, _ATTENTION_FLOPS_PER_S = 1e11, 2e11, 1e10
_OUTPUT_S = 2.4e-9
_BACKWARD = 3
"""A training step does the products of the forward pass three times: forward, and for both gradients."""
_START_S, _EVALUATE_S = 5.0, 1.5


def summary(plan: Plan, options: Options) -> str:
    """Return the number of trials, of those still to be run, and a rough estimate of their time, as text."""
    todo = [trial for trial in unfinished(plan, kept(plan, options)) if not refusal(plan, trial)]
    refused = sum(refusal(plan, trial) is not None for trial in plan.trials)
    firsts = plan.first_of_configuration()
    with Profiler() as profiler:
        costs = _Costs(plan, profiler)
        seconds = sum(costs.seconds(trial, trial.key in firsts or options.isolate) for trial in todo) / options.workers
    by_backend = ", ".join(f"{count} {name}" for name, count in Counter(trial.backend for trial in todo).items())
    return "\n".join(
        [
            *([plan.note] if plan.note else []),
            f"{plan.study.name}: {plan.study.question}",
            f"trials: {len(plan.trials)}, of which {refused} unsupported; "
            f"to be run: {len(todo)}" + (f" ({by_backend})" if todo else ""),
            f"time: about {duration(seconds)} where all epochs are run (from figures of 2 cores; expect a factor of 2)",
            f"run: {options.results / plan.run_name} (nothing was written)",
        ]
    )


class _Costs:
    """Estimates trials of one plan; what costs a look at the data or at a framework is looked up once."""

    def __init__(self, plan: Plan, profiler: Profiler) -> None:
        self._plan, self._profiler = plan, profiler
        self._rows: dict[object, int] = {}
        self._work: dict[object, float] = {}

    def seconds(self, trial: Trial, fresh: bool) -> float:
        """Return a trial's seconds, from the start of its process to its record."""
        rows, training = self._train_rows(trial), trial.training
        steps = math.ceil(rows / training.batch_size)
        epoch = steps * _STEP_S.get(trial.backend, _OTHER_STEP_S) + rows * self._sample_s(trial, rows)
        return training.epochs * epoch + _EVALUATE_S + (_START_S if fresh else 0)

    def _train_rows(self, trial: Trial) -> int:
        way = (trial.dataset, trial.train_share, trial.rows, trial.training.validation)
        if way not in self._rows:
            self._rows[way] = len(cut(trial, self._plan.datasets[trial.dataset]).train)
        return self._rows[way]

    def _sample_s(self, trial: Trial, rows: int) -> float:
        """Return the seconds that one sample adds to a training step."""
        dataset = self._plan.datasets[trial.dataset]
        shape = input_shape(trial, dataset, rows)
        way = (trial.architecture.label, shape, dataset.n_classes)
        if way not in self._work:
            if isinstance(trial.architecture, FeedForward):
                sizes = [math.prod(shape), *trial.architecture.hidden_layer_sizes, dataset.n_classes]
                flops = sum(2.0 * a * b for a, b in itertools.pairwise(sizes))
                self._work[way] = _BACKWARD * flops / _DENSE_FLOPS_PER_S
            else:
                self._work[way] = sum(map(_layer_s, self._profiler.layers(trial, shape, dataset.n_classes)))
        return self._work[way]


def _layer_s(layer: Mapping[str, Any]) -> float:
    rate = _ATTENTION_FLOPS_PER_S if "Attention" in layer["kind"] else _OTHER_FLOPS_PER_S
    flops, outputs = float(layer["flops"] or 0), float(math.prod(layer["output_shape"]))
    return _BACKWARD * flops / rate + outputs * _OUTPUT_S
