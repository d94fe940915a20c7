"""PyTorch's optimizers, in the arithmetic that all frameworks share, or in their own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from config import Training

_EPSILON = 1e-8


@dataclass
class _Group:
    """Parameters of one weight decay, and what the optimizer keeps of each: moments, or velocities, and steps."""

    parameters: list[Tensor]
    decay: float
    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]

    @classmethod
    def of(cls, parameters: Sequence[Tensor], decay: float) -> _Group:
        first, second = ([torch.zeros_like(one) for one in parameters] for _ in range(2))
        return cls([*parameters], decay, first, second, [torch.zeros((), device=one.device) for one in parameters])

    def where(self, chosen: Sequence[bool]) -> _Group:
        """Return some of the parameters, with what is kept of them: the same tensors."""
        lists = (self.parameters, self.first, self.second, self.steps)
        parameters, first, second, steps = ([*itertools.compress(one, chosen)] for one in lists)
        return _Group(parameters, self.decay, first, second, steps)


class Optimizer:
    """SGD, Adam or AdamW, by the functions that PyTorch's own classes call, fused; the harness gives each step's rate.

    The classes go over all parameters in Python at every step, which for small networks takes a tenth of its time.

    Parameters
    ----------
    kernels : the parameters that penalties and decay are for; `others` are the rest. Those that are frozen are left out.
    native : keep PyTorch's own conventions.

    Attributes
    ----------
    parameters : those that gradients are wanted of, in the order in which :meth:`step` takes them.
    """

    def __init__(self, training: Training, kernels: Sequence[Tensor], others: Sequence[Tensor], native: bool) -> None:
        self._training, self._native, self._count, self._rate = training, native, 0, 0.0
        kernels, others = ([one for one in part if one.requires_grad] for part in (kernels, others))
        decay = training.weight_decay or (training.l2 if native else 0.0)
        if decay and not native:
            self._groups = [_Group.of(kernels, decay), _Group.of(others, 0.0)]
        else:
            self._groups = [_Group.of([*kernels, *others], decay)]
        self.parameters = [one for group in self._groups for one in group.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], rate: float) -> None:
        """Take one step; if matched, in the arithmetic of scikit-learn and Keras.

        Parameters
        ----------
        gradients : one for each of :attr:`parameters`; None where the loss does not depend on it, which then stays.
        """
        self._count += 1
        start = 0
        for group in self._groups:
            found = gradients[start : start + len(group.parameters)]
            start += len(group.parameters)
            reached = [gradient for gradient in found if gradient is not None]
            if len(reached) < len(found):
                group = group.where([gradient is not None for gradient in found])
            self._apply(group, [*map(_as_laid_out, reached, group.parameters)], rate)
        self._rate = rate

    def _apply(self, group: _Group, gradients: list[Tensor], rate: float) -> None:
        training = self._training
        if training.optimizer == "sgd":
            if training.momentum and self._count > 1 and rate != self._rate and rate and not self._native:
                # PyTorch's velocity leaves out the rate, the others' holds it: under a changing rate they part
                torch._foreach_mul_(group.first, self._rate / rate)
            sgd(
                group.parameters,
                gradients,
                [*group.first] if training.momentum else [None] * len(gradients),
                fused=True,
                weight_decay=group.decay,
                momentum=training.momentum,
                lr=rate,
                dampening=0,
                nesterov=training.nesterov,
                maximize=False,
            )
            return
        epsilon = training.epsilon or _EPSILON
        if not self._native:
            # PyTorch adds epsilon after correcting the second moment's bias, the others before
            epsilon /= math.sqrt(1 - training.beta_2**self._count)
        adam(
            group.parameters,
            gradients,
            group.first,
            group.second,
            [],
            group.steps,
            fused=True,
            decoupled_weight_decay=training.optimizer == "adamw",
            amsgrad=False,
            beta1=training.beta_1,
            beta2=training.beta_2,
            lr=rate,
            weight_decay=group.decay,
            eps=epsilon,
            maximize=False,
        )


def _as_laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return a gradient in its parameter's order of memory, which fused optimizers take for granted.

    That of a convolution has the channels last where its inputs have.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def tutorial(training: Training, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Return the optimizer as PyTorch's guide has it: the class, at its defaults, over all parameters."""
    rate, decay = training.learning_rate, training.weight_decay or training.l2
    if training.optimizer == "sgd":
        momentum, nesterov = training.momentum, training.nesterov
        return torch.optim.SGD(parameters, lr=rate, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    betas, epsilon = (training.beta_1, training.beta_2), training.epsilon or _EPSILON
    return kind(parameters, lr=rate, betas=betas, eps=epsilon, weight_decay=decay)
