"""The feed-forward family as an nn.Module."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from backends.models.torch_layers import BatchNorm, Flatten
from config import Activation, FeedForward

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "softplus": lambda: nn.Softplus(threshold=40),  # by default it is x above 20, which leaves out 2e-9
}


def feed_forward(spec: FeedForward, input_shape: tuple[int, ...], classes: int, native: bool) -> nn.Module:
    """Return the network of `spec`: (rows, channels, height, width) or (rows, features) to logits (rows, classes).

    Parameters
    ----------
    native : take PyTorch's own batch normalization instead of the one that computes as Keras's does.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=Flatten())
    width = math.prod(input_shape)
    for number, (size, activation) in enumerate(zip(spec.hidden_layer_sizes, spec.activations, strict=True)):
        parts[f"hidden_{number}"] = nn.Linear(width, size)
        if spec.batch_norm:
            parts[f"batch_norm_{number}"] = nn.BatchNorm1d(size) if native else BatchNorm(size)
        parts[f"activation_{number}"] = ACTIVATIONS[activation]()
        if spec.dropout:
            parts[f"dropout_{number}"] = nn.Dropout(spec.dropout)
        width = size
    parts["logits"] = nn.Linear(width, classes)
    return nn.Sequential(parts)
