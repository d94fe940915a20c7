"""Magnitude pruning in the course of a training: which weights are zero, and from which epoch on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from backends.base import Array, Backend, Unsupported, Weights
from config import Training


def last_epoch(training: Training) -> int:
    """Return the epoch, counted from 1, after which all that is pruned is pruned; at least one more follows."""
    return max(1, 2 * training.epochs // 3)


def sparsity(training: Training, epoch: int) -> float:
    """Return the share of the kernels' weights that are zero after an epoch, counted from 1.

    It rises steeply at first, where much can go, and ever less steeply.

    References
    ----------
    Zhu and Gupta (2017), "To prune, or not to prune: exploring the efficacy of pruning for model compression".
    """
    return float(training.sparsity * (1 - (1 - min(1, epoch / last_epoch(training))) ** 3))


def kept(kernels: Mapping[str, Array], share: float) -> dict[str, Array]:
    """Return masks, False where a weight is among the `share` of smallest magnitude in all kernels together."""
    sizes = np.concatenate([np.abs(kernel).ravel() for kernel in kernels.values()])
    mask = np.ones(len(sizes), bool)
    mask[np.argsort(sizes, kind="stable")[: round(share * len(sizes))]] = False
    parts = np.split(mask, np.cumsum([kernel.size for kernel in kernels.values()])[:-1])
    return {name: part.reshape(kernels[name].shape) for name, part in zip(kernels, parts, strict=True)}


@dataclass
class Pruning:
    """The pruning of one training, epoch by epoch.

    Attributes
    ----------
    kernels : names of the weights that are pruned; biases and normalization are few, and stay.
    """

    training: Training
    backend: Backend
    kernels: frozenset[str]
    epoch: int = 0

    @classmethod
    def of(cls, training: Training, backend: Backend) -> Self | None:
        """Return the pruning that a training asks for of a network that is built; None where it asks for none.

        Raises
        ------
        Unsupported
            Where the network has no kernels.
        """
        if not training.sparsity:
            return None
        kernels = frozenset(spec.name for spec in backend.weight_specs() if spec.kernel and spec.trainable)
        if not kernels:
            raise Unsupported("training.sparsity: the network has no kernels that could be pruned")
        return cls(training, backend, kernels)

    def epoch_end(self) -> None:
        """Prune what is due after one more epoch."""
        self.epoch += 1
        if self.epoch <= last_epoch(self.training):
            self.backend.prune(kept(self._weights(), sparsity(self.training, self.epoch)))

    def _weights(self) -> Weights:
        return {name: array for name, array in self.backend.get_weights().items() if name in self.kernels}
