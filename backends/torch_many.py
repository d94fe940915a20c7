"""Many feed-forward networks trained as one program: their weights stacked, their products batched."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backends.base import Epoch, Network, Weights
from backends.models.torch_ffn import ACTIVATIONS
from backends.torch_optim import Optimizer
from config import FeedForward


class Stack:
    """Feed-forward networks of one depth and one training, apart from their seeds, widths and learning rates.

    Narrower networks are as wide as the widest, with hidden units that a mask holds at 0: what leads to them and away
    from them gets no gradient.

    Parameters
    ----------
    networks : those of one learning rate stand together.
    weights : the initial ones of each, in the canonical layout.
    """

    def __init__(
        self, networks: Sequence[Network], weights: Sequence[Weights], device: torch.device, dtype: torch.dtype
    ) -> None:
        specs = [network.architecture for network in networks if isinstance(network.architecture, FeedForward)]
        self._training, self._native = networks[0].training, networks[0].native
        self._activations = [ACTIVATIONS[name]() for name in specs[0].activations]
        self._shapes = [{name: array.shape for name, array in one.items()} for one in weights]
        self._masks = [
            _mask(sizes).to(device, dtype) for sizes in zip(*(s.hidden_layer_sizes for s in specs), strict=True)
        ]
        self._stacks: list[dict[str, Tensor]] = []
        self._optimizers: list[Optimizer] = []
        self._firsts: list[int] = []
        stacked = {name: _stacked([one[name] for one in weights]).to(device, dtype) for name in weights[0]}
        rates = [network.training.learning_rate for network in networks]
        for _, places in itertools.groupby(range(len(networks)), rates.__getitem__):
            members = list(places)
            arrays = {name: array[members].requires_grad_() for name, array in stacked.items()}
            kernels = [array for name, array in arrays.items() if name.endswith("kernel")]
            others = [array for name, array in arrays.items() if not name.endswith("kernel")]
            self._stacks.append(arrays)
            self._optimizers.append(Optimizer(self._training, kernels, others, self._native))
            self._firsts.append(members[0])

    def _arrays(self) -> dict[str, Tensor]:
        """Return every array of all networks, (networks, ...)."""
        if len(self._stacks) == 1:
            return self._stacks[0]
        return {name: torch.cat([arrays[name] for arrays in self._stacks]) for name in self._stacks[0]}

    def weights(self, place: int) -> Weights:
        """Return a copy of one network's weights, in its own shapes."""
        return {
            name: array[place][tuple(slice(size) for size in self._shapes[place][name])].detach().cpu().numpy().copy()
            for name, array in self._arrays().items()
        }

    def train_epoch(self, inputs: Tensor, labels: Tensor, epochs: Sequence[Epoch]) -> list[float]:
        """Take each network once through its own rows of `inputs`, (all rows, features); return their mean losses."""
        size, rows = self._training.batch_size, len(epochs[0].order)
        orders = torch.as_tensor(np.stack([epoch.order for epoch in epochs]), device=inputs.device)
        wanted = [parameter for optimizer in self._optimizers for parameter in optimizer.parameters]
        totals = torch.zeros(len(epochs), device=inputs.device, dtype=torch.float64)
        for step, start in enumerate(range(0, rows, size)):
            batch = orders[:, start : start + size]
            x = inputs.index_select(0, batch.flatten()).view(*batch.shape, -1)
            losses = self._losses(x, labels[batch])
            gradients = iter(torch.autograd.grad(losses.sum(), wanted))
            for first, optimizer in zip(self._firsts, self._optimizers, strict=True):
                own = [*itertools.islice(gradients, len(optimizer.parameters))]
                optimizer.step(own, float(epochs[first].learning_rates[step]))
            totals += losses.detach() * batch.shape[1]
        return (totals / rows).tolist()

    def _losses(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return each network's loss on its own batch, (networks, rows, features) and (networks, rows)."""
        arrays, training = self._arrays(), self._training
        for number, (activation, mask) in enumerate(zip(self._activations, self._masks, strict=True)):
            x = activation(_dense(x, arrays, f"hidden_{number}"))
            x = x * mask if mask.numel() else x
        logits = _dense(x, arrays, "logits")
        smoothing = training.label_smoothing
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=smoothing
        )
        losses = losses.view(labels.shape).mean(dim=1)
        for name, array in arrays.items() if training.l2 and not self._native else ():
            if name.endswith("kernel"):
                losses = losses + 0.5 * training.l2 * array.square().sum(dim=(1, 2))
        return losses


def _dense(x: Tensor, arrays: dict[str, Tensor], layer: str) -> Tensor:
    return torch.baddbmm(arrays[f"{layer}/bias"][:, None], x, arrays[f"{layer}/kernel"])


def _mask(sizes: Sequence[int]) -> Tensor:
    """Return 1 for the hidden units that a network has and 0 for the others, (networks, 1, widest); empty if all have all."""
    if len(set(sizes)) == 1:
        return torch.empty(0)
    return (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None])[:, None]


def _stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    """Stack arrays, filled up with zeros to the largest."""
    shape = np.max([array.shape for array in arrays], axis=0)
    return torch.as_tensor(
        np.stack(
            [
                np.pad(array, [(0, most - size) for most, size in zip(shape, array.shape, strict=True)])
                for array in arrays
            ]
        )
    )
