"""The full-size networks that lightweight ones are held against, as nn.Modules: an MLP, a CNN and a ResNet."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from backends.models.torch_ffn import feed_forward
from backends.models.torch_layers import BatchNorm, Flatten
from config import FeedForward, Scalar

ARCHITECTURES = {
    "mlp": {"dropout": 0.2},
    "cnn": {"width": 32, "dropout": 0.25},
    "resnet": {"width": 16},
}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network `name`: images (rows, channels, height, width) to logits (rows, classes).

    Parameters
    ----------
    options : ``width``, channels of the first stage, doubled in each further one; ``dropout`` before the head.
    """
    if name == "mlp":
        hidden = FeedForward(
            hidden_layer_sizes=(512, 256), activations=("relu",) * 2, dropout=float(options["dropout"])
        )
        return feed_forward(hidden, input_shape, classes, native=True)
    if name == "cnn":
        return TraditionalCNN(input_shape, classes, int(options["width"]), float(options["dropout"]))
    return TraditionalResNet(input_shape, classes, int(options["width"]))


class TraditionalCNN(nn.Module):
    """Three 3x3 convolutions with pooling and one hidden layer of 256; 390,410 parameters on MNIST."""

    def __init__(
        self,
        input_shape: tuple[int, ...] = (28, 28, 1),
        classes: int = 10,
        width: int = 32,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        height, breadth, channels = input_shape
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for number, size in enumerate((width, 2 * width, 4 * width)):
            parts[f"conv_{number}"] = nn.Conv2d(channels, size, 3, padding=1)
            parts[f"pool_{number}"] = nn.MaxPool2d(2)
            parts[f"relu_{number}"] = nn.ReLU()  # behind the pooling: the same numbers, from a quarter of the elements
            channels, height, breadth = size, height // 2, breadth // 2
        parts["flatten"] = Flatten()
        self.features = nn.Sequential(parts)
        self.hidden = nn.Linear(math.prod((height, breadth, channels)), 256)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(256, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (rows, classes) for images (rows, channels, height, width)."""
        logits: Tensor = self.logits(self.dropout(torch.relu(self.hidden(self.features(images)))))
        return logits


class TraditionalResNet(nn.Module):
    """Three stages of two residual blocks, 16, 32 and 64 channels; 174,970 parameters on MNIST.

    References
    ----------
    He et al. (2016), "Deep residual learning for image recognition", with projections where the size changes.
    """

    def __init__(self, input_shape: tuple[int, ...] = (28, 28, 1), classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.stem = _convolution(input_shape[2], width)
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        channels = width
        for stage, size in enumerate((width, 2 * width, 4 * width)):
            for number in range(2):
                stride = 2 if stage and not number else 1
                parts[f"stage_{stage}_block_{number}"] = ResidualBlock(channels, size, stride)
                channels = size
        self.blocks = nn.Sequential(parts)
        self.logits = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (rows, classes) for images (rows, channels, height, width)."""
        features = self.blocks(torch.relu(self.stem(images)))
        logits: Tensor = self.logits(features.mean(dim=(2, 3)))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 1x1 convolution where the size changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels, width, stride)
        self.second = _convolution(width, width)
        changes = stride > 1 or channels != width
        self.shortcut = _convolution(channels, width, stride, size=1) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (rows, width, height / stride, width / stride) of (rows, channels, height, width)."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def _convolution(channels: int, width: int, stride: int = 1, size: int = 3) -> nn.Module:
    kernel = nn.Conv2d(channels, width, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=kernel, norm=BatchNorm(width, momentum=0.1)))
