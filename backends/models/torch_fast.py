"""A convolutional network for accuracy in the least time on a CPU, as an nn.Module.

Its first convolution is not trained: that saves its weights' gradient, the normalization behind it and the gradient
through both: about a third of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from backends.models import cosines
from backends.models.torch_layers import BatchNorm, Flatten
from config import Scalar

ARCHITECTURES = {"fast_cnn": {"kernel": 5, "filters": 12, "stride": 2, "width": 32, "hidden": 256}}


def build(
    name: str,  # noqa: ARG001  # of one
    options: Mapping[str, Scalar],
    input_shape: tuple[int, ...],
    classes: int,
) -> nn.Module:
    """Return the network: images (rows, channels, height, width) to logits (rows, classes).

    Parameters
    ----------
    options : ``kernel``, ``filters`` and ``stride`` of the fixed filters; ``width``, channels of the trained 3x3
        convolution; ``hidden``, units of the layer before the head.
    """
    return FastCNN(input_shape, classes, **{option: int(value) for option, value in options.items()})


class FastCNN(nn.Module):
    """Fixed cosine filters, one trained convolution with pooling, one hidden layer."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        kernel: int,
        filters: int,
        stride: int,
        width: int,
        hidden: int,
    ) -> None:
        super().__init__()
        padded = cosines.padded(input_shape)
        self.stem = CosineFilters(input_shape[2], kernel, filters, stride, kernel // 2 if padded else 0)
        self.conv = nn.Conv2d(self.stem.channels, width, 3, padding=int(padded), bias=False)
        self.conv_norm = BatchNorm(width, momentum=0.1)
        self.flatten = Flatten()
        sides = [(side + 2 * self.stem.margin - kernel) // stride + 1 for side in input_shape[:2]]
        pooled = [math.ceil((side if padded else side - 2) / 2) for side in sides]
        self.hidden = nn.Linear(width * math.prod(pooled), hidden, bias=False)
        self.hidden_norm = BatchNorm(hidden, momentum=0.1)
        self.logits = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (rows, classes) for images (rows, channels, height, width)."""
        pooled = functional.max_pool2d(self.conv(self.stem(images)), 2, ceil_mode=True)
        hidden = torch.relu(self.hidden_norm(self.hidden(self.flatten(torch.relu(self.conv_norm(pooled))))))
        logits: Tensor = self.logits(hidden)
        return logits


class CosineFilters(nn.Module):
    """A convolution of every channel with :func:`backends.models.cosines.filters`, and ReLU."""

    weight: Tensor

    def __init__(self, channels: int, kernel: int, filters: int, stride: int, margin: int) -> None:
        super().__init__()
        weight = torch.from_numpy(cosines.filters(kernel, filters)).permute(2, 0, 1).unsqueeze(1)
        self.channels, self.stride, self.margin = channels * len(weight), stride, margin
        weight = weight.repeat(channels, 1, 1, 1).contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (rows, 2 * filters * channels, height, width), without a gradient to `x` where it asks for none."""
        return torch.relu(functional.conv2d(x, self.weight, None, self.stride, self.margin, groups=x.shape[1]))
