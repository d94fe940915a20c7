"""Lightweight attention networks of single-weight neurons, as nn.Modules; :mod:`backends.models.attention` says how."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from backends.models.attention import Size, offsets
from backends.models.torch_layers import BatchNorm
from config import Scalar

# channels in multiples of 16 where the budget allows: others take PyTorch's batch normalization on a CPU three times as
# long
ARCHITECTURES = {
    "attention_700": {
        "kernel": 3,
        "stem": 5,
        "middle": 5,
        "width": 9,
        "heads": 3,
        "blocks": 1,
        "pooling_queries": 4,
        "scores": "content",
    },
    "attention_2k": {
        "kernel": 5,
        "stem": 8,
        "middle": 8,
        "width": 16,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 6,
        "scores": "content",
    },
    "attention_5k": {
        "kernel": 5,
        "stem": 16,
        "middle": 16,
        "width": 32,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 8,
        "scores": "content",
    },
    "attention_10k": {
        "kernel": 5,
        "stem": 16,
        "middle": 32,
        "width": 48,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 11,
        "scores": "content",
    },
    "attention_25k": {
        "kernel": 5,
        "stem": 32,
        "middle": 64,
        "width": 64,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 21,
        "scores": "content",
    },
    "attention_50k": {
        "kernel": 5,
        "stem": 48,
        "middle": 96,
        "width": 112,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 24,
        "scores": "content",
    },
}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network `name`: images (rows, channels, height, width) to logits (rows, classes).

    Parameters
    ----------
    options : ``kernel`` of the stem's first two convolutions, odd; ``stem`` and ``middle``, channels of its first two
        stages; ``width``, channels at every position;
        ``heads``, which divide the width; ``blocks`` of attention; ``pooling_queries``, weighted means of the positions
        that the head reads; ``scores``, what weighs a position (:data:`backends.models.attention.SCORES`).

    Raises
    ------
    UserError
        Where :class:`backends.models.attention.Size` refuses the options or the image.
    """
    size = Size.of(name, options, input_shape)
    blocks = [(f"block_{number}", AttentionBlock(size)) for number in range(size.blocks)]
    return AttentionNetwork(
        stem(input_shape[2], size),
        nn.Sequential(OrderedDict(blocks)),
        AttentionPooling(size),
        nn.Linear(size.means * size.width, classes),
    )


def stem(channels: int, size: Size) -> nn.Module:
    """Return three stages, the last two separable convolutions: (rows, channels, h, w) to (rows, width, grid).

    The first two halve the image. Images that need more halvings are averaged down first, those that need fewer are
    halved less.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if size.shrink > 1:
        parts["shrink"] = nn.AvgPool2d(size.shrink, ceil_mode=True)
    parts["conv_0"] = _convolution(channels, size.stem, size.kernel, size.strides[0])
    parts["relu_0"] = nn.ReLU(inplace=True)
    parts["depthwise_1"] = _convolution(size.stem, size.stem, size.kernel, groups=size.stem)
    parts["pointwise_1"] = _convolution(size.stem, size.middle, 1)
    parts["relu_1"] = nn.ReLU(inplace=True)
    if size.strides[1] > 1:
        parts["pool_1"] = nn.MaxPool2d(2, ceil_mode=True)
    parts["depthwise_2"] = _convolution(size.middle, size.middle, 3, groups=size.middle)
    parts["pointwise_2"] = _convolution(size.middle, size.width, 1)
    parts["relu_2"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def _convolution(channels: int, width: int, size: int, stride: int = 1, groups: int = 1) -> nn.Module:
    kernel = nn.Conv2d(channels, width, size, stride, padding=size // 2, groups=groups, bias=False)
    # every kernel has a norm behind it, so that the scale of its initial weights does not matter; not Keras's momentum
    # of 0.01: after the few hundred steps of a short training that still holds a part of its initial values
    return nn.Sequential(OrderedDict(conv=kernel, norm=BatchNorm(width, momentum=0.1)))


class AttentionNetwork(nn.Module):
    """Stem, attention blocks, attention pooling and linear head in a row, from images to logits."""

    def __init__(self, stem: nn.Module, blocks: nn.Module, pool: nn.Module, logits: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.pool, self.logits = stem, blocks, pool, logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (rows, classes) for images (rows, channels, height, width)."""
        positions: Tensor = self.stem(images).flatten(2).transpose(1, 2)
        logits: Tensor = self.logits(self.pool(self.blocks(positions)))
        return logits


class SingleWeight(nn.Module):
    """One neuron a channel, each with one weight and at most one bias; (..., width) to (..., width)."""

    initializers = {"weight": "ones", "bias": "zeros"}

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return w * x + b."""
        return x * self.weight if self.bias is None else torch.addcmul(self.bias, x, self.weight)


class AttentionBlock(nn.Module):
    """Attention between positions, its query, key and value single-weight; (rows, positions, width) to the same."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.scores = size.scores
        self.value = SingleWeight(size.width)
        if size.content:
            self.query = SingleWeight(size.width)
            # a key's bias would add the same to all scores of a query, which softmax ignores
            self.key = SingleWeight(size.width, bias=False)
        if size.content or size.position:
            self.attend = RelativeAttention(size)
        self.norm = BatchNorm(size.width, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the positions with what they gathered, rectified and normalized."""
        value = self.value(x)
        if self.scores == "uniform":
            value = value.mean(dim=1, keepdim=True)
        elif self.scores == "position":
            value = self.attend(None, None, value)
        elif self.scores != "none":
            value = self.attend(self.query(x), self.key(x), value)
        rectified = torch.relu(x + value)
        normalized: Tensor = self.norm(rectified.flatten(0, 1)).view(rectified.shape)
        return normalized


class RelativeAttention(nn.Module):
    """Softmax attention by heads, with a learned bias for each head and offset between two positions of a grid.

    The softmax is written out: scaled_dot_product_attention has no fast path where the bias is learned, and its slow
    one takes longer on CPUs at these sizes.
    """

    initializers = {"relative_position": "zeros"}

    def __init__(self, size: Size) -> None:
        super().__init__()
        height, width = size.grid
        self.heads, self.position = size.heads, size.position
        if size.position:
            self.relative_position = nn.Parameter(torch.zeros(size.heads, (2 * height - 1) * (2 * width - 1)))
            self.register_buffer("offset", torch.as_tensor(offsets(height, width)).flatten(), persistent=False)
            self.offset: Tensor

    def forward(self, query: Tensor | None, key: Tensor | None, value: Tensor) -> Tensor:
        """Return the values each position gathers, (rows, positions, width) like query, key and value."""
        rows, positions, width = value.shape
        scores = value.new_zeros(1, self.heads, positions, positions)
        if query is not None and key is not None:
            query = query * (width // self.heads) ** -0.5  # in place of the scores, of which there are many more
            scores = torch.matmul(self._by_head(query), self._by_head(key).transpose(2, 3))
        if self.position:
            bias = self.relative_position.index_select(1, self.offset)
            scores = scores + bias.view(1, self.heads, positions, positions)
        gathered = torch.matmul(torch.softmax(scores, dim=3), self._by_head(value))
        return gathered.transpose(1, 2).reshape(rows, positions, width)

    def _by_head(self, x: Tensor) -> Tensor:
        rows, positions, width = x.shape
        return x.view(rows, positions, self.heads, width // self.heads).transpose(1, 2)


class AttentionPooling(nn.Module):
    """A weighted mean of the positions for each learned query; (rows, positions, width) to (rows, queries * width)."""

    # normal of 1: nearly equal queries would take nearly equal means for a long while
    initializers = {"pool_query": "normal:1", "pool_position": "normal:1"}

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.content, self.position = size.content, size.position
        if size.content:
            self.pool_query = nn.Parameter(torch.randn(size.queries, size.width))
        if size.position:
            self.pool_position = nn.Parameter(torch.randn(size.queries, size.positions))

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of all queries side by side; where nothing weighs the positions, their mean."""
        if not self.content and not self.position:
            return x.mean(dim=1)
        scores = x.new_zeros(())
        if self.content:
            scores = torch.matmul(self.pool_query * x.shape[2] ** -0.5, x.transpose(1, 2))
        if self.position:
            scores = scores + self.pool_position
        return torch.matmul(torch.softmax(scores, dim=-1), x).flatten(1)
