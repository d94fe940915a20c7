"""PyTorch's optimizers, in the arithmetic that all frameworks share, or in their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from config import Training

_EPSILON = 1e-8


class Optimizer:
    """A PyTorch optimizer whose rate the harness gives for each step.

    Parameters
    ----------
    kernels : the parameters that penalties and decay are for; `others` are the rest.
    native : keep PyTorch's own conventions.
    fused : all parameters in one pass; else as PyTorch chooses by default.
    """

    def __init__(
        self, training: Training, kernels: Sequence[Tensor], others: Sequence[Tensor], native: bool, fused: bool
    ) -> None:
        self._training, self._native, self._steps = training, native, 0
        decay = training.weight_decay or (training.l2 if native else 0.0)
        if decay and not native:
            groups = [{"params": list(kernels), "weight_decay": decay}, {"params": list(others), "weight_decay": 0.0}]
        else:
            groups = [{"params": [*kernels, *others], "weight_decay": decay}]
        self._optimizer = _make(training, groups, fused)

    def step(self, rate: float) -> None:
        """Take a step along the gradients and clear them; if matched, in the arithmetic of scikit-learn and Keras."""
        self._steps += 1
        training = self._training
        for group in self._optimizer.param_groups:
            if self._native:
                pass
            elif training.optimizer != "sgd":
                # PyTorch adds epsilon after correcting the second moment's bias, the others before
                epsilon = training.epsilon or _EPSILON
                group["eps"] = epsilon / math.sqrt(1 - training.beta_2**self._steps)
            elif training.momentum and self._steps > 1 and rate != group["lr"] and rate:
                # PyTorch's velocity leaves out the rate, the others' holds it: under a changing rate they part
                for parameter in group["params"]:
                    self._optimizer.state[parameter]["momentum_buffer"].mul_(group["lr"] / rate)
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()


def _make(training: Training, groups: list[dict[str, Any]], fused: bool) -> torch.optim.Optimizer:
    rate, way = training.learning_rate, True if fused else None
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=training.momentum, nesterov=training.nesterov, fused=way)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    betas = (training.beta_1, training.beta_2)
    return kind(groups, lr=rate, betas=betas, eps=training.epsilon or _EPSILON, fused=way)
