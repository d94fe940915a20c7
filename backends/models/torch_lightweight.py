"""The lightweight networks of the published experiment that this project grew from, as nn.Modules, as they were.

They are in the table to be measured, not to be copied: what is called a single-weight neuron there holds a weight for
each of its inputs, so that a layer of them is a dense layer; and attention has one position to attend to, whose softmax
is always 1, so that query and key never learn. :mod:`backends.models.torch_attention` has the networks in which a
neuron has a single weight and attention something to choose from.

Parameters on MNIST: 344,154 (basic), 316,715 (conv), 958,030 (adaptive), 109,386 (no attention).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from config import Scalar

ARCHITECTURES = {
    "lightweight_basic": {"attention_size": 64, "dropout": 0.1},
    "lightweight_conv": {"attention_size": 32, "dropout": 0.1},
    "lightweight_adaptive": {"attention_size": 64, "experts": 4},
    "lightweight_no_attention": {"dropout": 0.1},
}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network `name`: images (rows, channels, height, width) to logits (rows, classes).

    Parameters
    ----------
    options : ``attention_size``, width of query, key and value; ``dropout`` before the head; ``experts``.
    """
    size, dropout = int(options.get("attention_size", 0)), float(options.get("dropout", 0))
    if name == "lightweight_conv":
        return LightweightConv(input_shape, classes, size, dropout)
    if name == "lightweight_adaptive":
        return LightweightAdaptive(input_shape, classes, size, int(options["experts"]))
    return LightweightNetwork(input_shape, classes, size, dropout)


class LightweightNetwork(nn.Module):
    """Two layers, of 128 and 64 neurons, each behind attention; with `attention_size` 0 there is none."""

    def __init__(
        self,
        input_shape: tuple[int, ...] = (28, 28, 1),
        classes: int = 10,
        attention_size: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        width = math.prod(input_shape)
        for number, neurons in enumerate((128, 64)):
            if attention_size:
                parts[f"attention_{number}"] = OnePositionAttention(width, attention_size)
            parts[f"neurons_{number}"] = nn.Linear(width, neurons)
            parts[f"relu_{number}"] = nn.ReLU()
            width = neurons
        self.features = nn.Sequential(parts)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (rows, classes) for images (rows, channels, height, width)."""
        logits: Tensor = self.logits(self.dropout(self.features(images)))
        return logits


class LightweightConv(nn.Module):
    """Two 5x5 convolutions, a sigmoid map over their positions, and 64 neurons behind attention."""

    def __init__(
        self,
        input_shape: tuple[int, ...] = (28, 28, 1),
        classes: int = 10,
        attention_size: int = 32,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        height, breadth, channels = input_shape
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for number, width in enumerate((16, 32)):
            parts[f"conv_{number}"] = nn.Conv2d(channels, width, 5, padding=2)
            parts[f"relu_{number}"] = nn.ReLU()
            parts[f"pool_{number}"] = nn.MaxPool2d(2)
            height, breadth, channels = height // 2, breadth // 2, width
        self.features = nn.Sequential(parts)
        self.map = nn.Conv2d(channels, 1, 1)
        inputs = height * breadth * channels
        self.attention = OnePositionAttention(inputs, attention_size)
        self.neurons = nn.Linear(inputs, 64)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (rows, classes) for images (rows, channels, height, width)."""
        features = self.features(images)
        features = features * torch.sigmoid(self.map(features))
        neurons = torch.relu(self.neurons(self.attention(features.flatten(1))))
        logits: Tensor = self.logits(self.dropout(neurons))
        return logits


class LightweightAdaptive(nn.Module):
    """A mixture of experts, each 32 neurons behind attention, weighted by a router that sees the image.

    References
    ----------
    Jacobs et al. (1991), "Adaptive mixtures of local experts".
    """

    def __init__(
        self,
        input_shape: tuple[int, ...] = (28, 28, 1),
        classes: int = 10,
        attention_size: int = 64,
        experts: int = 4,
    ) -> None:
        super().__init__()
        inputs = math.prod(input_shape)
        router = OrderedDict(hidden=nn.Linear(inputs, 64), relu=nn.ReLU(), weights=nn.Linear(64, experts))
        self.router = nn.Sequential(router)
        self.experts = nn.ModuleList(_expert(inputs, attention_size) for _ in range(experts))
        self.logits = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (rows, classes) for images (rows, channels, height, width)."""
        x = images.flatten(1)
        answers = torch.stack([expert(x) for expert in self.experts], dim=1)
        weights = torch.softmax(self.router(x), dim=1)
        logits: Tensor = self.logits((weights[:, :, None] * answers).sum(dim=1))
        return logits


def _expert(inputs: int, attention_size: int) -> nn.Module:
    attention = OnePositionAttention(inputs, attention_size)
    return nn.Sequential(OrderedDict(attention=attention, neurons=nn.Linear(inputs, 32), relu=nn.ReLU()))


class OnePositionAttention(nn.Module):
    """Scaled dot-product attention of a vector to itself alone, with a residual; (rows, width) to the same."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, size) for _ in range(3))
        self.output = nn.Linear(size, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return x and what it gathers from itself."""
        query, key, value = (part(x)[:, None] for part in (self.query, self.key, self.value))
        scores = torch.matmul(query, key.transpose(1, 2)) * query.shape[2] ** -0.5
        gathered: Tensor = self.output(torch.matmul(torch.softmax(scores, dim=2), value)[:, 0])
        return x + gathered
