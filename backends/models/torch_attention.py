"""Lightweight attention networks of single-weight neurons, as an nn.Module.

A single-weight neuron has one input, one weight and at most one bias: ``y_i = w_i * x_i + b_i``. A layer of them costs
two parameters a channel, where a dense layer of width n costs n + 1, and it mixes nothing. What mixes is attention
(Vaswani et al., 2017, "Attention is all you need"): its query, key and value are single-weight layers, and each
position gathers, one head at a time, the values of all others, weighted by how well query and key agree plus a learned
number for the way from one to the other (Shaw et al., 2018, "Self-attention with relative position representations",
here one number a head and offset).

Before it, separable convolutions (Chollet, 2017, "Xception") turn the image into 17 to 64 positions (any but the
smallest images); behind it, learned queries that do not depend on the image take one weighted mean of the positions
each (Ilse et al., 2018, "Attention-based deep multiple instance learning"; Lee et al., 2019, "Set Transformer"), and a
linear head reads them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from backends.models.attention import Size, offsets
from backends.models.torch_layers import BatchNorm
from config import Scalar

ARCHITECTURES = {"attention_5k": {"width": 32, "heads": 4, "blocks": 1, "pooling_queries": 3}}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network `name`: images (rows, channels, height, width) to logits (rows, classes).

    Parameters
    ----------
    options : ``width``, channels at every position; ``heads``, which divide the width; ``blocks`` of attention;
        ``pooling_queries``, weighted means of the positions that the head reads.

    Raises
    ------
    UserError
        Where :class:`backends.models.attention.Size` refuses the options or the image.
    """
    size = Size.of(name, options, input_shape)
    blocks = [(f"block_{number}", AttentionBlock(size.width, size.heads, size.grid)) for number in range(size.blocks)]
    return AttentionNetwork(
        stem(input_shape[2], size),
        nn.Sequential(OrderedDict(blocks)),
        AttentionPooling(size.width, size.queries),
        nn.Linear(size.queries * size.width, classes),
    )


def stem(channels: int, size: Size) -> nn.Module:
    """Return three convolutions, the last two separable: (rows, channels, h, w) to (rows, width, positions' grid).

    The first two halve the image, with 5x5 kernels: they brought 98.1% with 3x3 to 98.6% (MNIST, two epochs, one seed).
    Images that need more halvings are averaged down first, those that need fewer are strided less.
    """
    width, narrow = size.width, size.width // 2
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if size.shrink > 1:
        parts["shrink"] = nn.AvgPool2d(size.shrink, ceil_mode=True)
    parts["conv_0"] = _convolution(channels, narrow, 5, size.strides[0])
    parts["relu_0"] = nn.ReLU(inplace=True)
    for number, (before, kernel, stride) in enumerate([(narrow, 5, size.strides[1]), (width, 3, 1)], start=1):
        parts[f"depthwise_{number}"] = _convolution(before, before, kernel, stride, groups=before)
        parts[f"pointwise_{number}"] = _convolution(before, width, 1)
        parts[f"relu_{number}"] = nn.ReLU(inplace=True)
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

    def __init__(self, width: int, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.query = SingleWeight(width)
        self.key = SingleWeight(width, bias=False)  # it would add the same to all scores of a query: softmax ignores it
        self.value = SingleWeight(width)
        self.attend = RelativeAttention(heads, grid)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the positions with what they gathered, rectified and normalized."""
        gathered = self.attend(self.query(x), self.key(x), self.value(x))
        normalized: Tensor = self.norm(torch.relu(x + gathered))
        return normalized


class RelativeAttention(nn.Module):
    """Softmax attention by heads, with a learned bias for each head and offset between two positions of a grid.

    The softmax is written out: scaled_dot_product_attention has no fast path where the bias is learned, and its slow
    one takes longer on CPUs at these sizes.
    """

    initializers = {"relative_position": "zeros"}

    def __init__(self, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        height, width = grid
        self.heads = heads
        self.relative_position = nn.Parameter(torch.zeros(heads, (2 * height - 1) * (2 * width - 1)))
        self.register_buffer("offset", torch.as_tensor(offsets(height, width)).flatten(), persistent=False)
        self.offset: Tensor

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the values each position gathers, (rows, positions, width) like query, key and value."""
        positions, width = query.shape[1:]
        # the query is scaled in place of the scores, of which there are many more
        query = query * (width // self.heads) ** -0.5
        query, key, value = (
            x.reshape(-1, positions, self.heads, width // self.heads).transpose(1, 2) for x in (query, key, value)
        )
        bias = self.relative_position.index_select(1, self.offset).view(self.heads, positions, positions)
        scores = torch.matmul(query, key.transpose(2, 3)).add_(bias)
        return torch.matmul(torch.softmax(scores, dim=3), value).transpose(1, 2).flatten(2)


class AttentionPooling(nn.Module):
    """A weighted mean of the positions for each learned query; (rows, positions, width) to (rows, queries * width)."""

    # normal of 1: nearly equal queries would take nearly equal means for a long while
    initializers = {"pool_query": "normal:1"}

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.pool_query = nn.Parameter(torch.randn(queries, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of all queries side by side."""
        scores = torch.matmul(self.pool_query * x.shape[2] ** -0.5, x.transpose(1, 2))
        return torch.matmul(torch.softmax(scores, dim=2), x).flatten(1)
