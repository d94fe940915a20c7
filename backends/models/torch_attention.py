"""Lightweight attention networks of single-weight neurons, as nn.Modules; :mod:`backends.models.attention` says how."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from backends.models.attention import INITIALIZERS, Attention, Size, coordinates
from backends.models.torch_layers import BatchNorm
from config import Scalar

# channels in multiples of 16 where the budget allows: others take PyTorch's batch normalization on a CPU three times as
# long
ARCHITECTURES = {
    "attention_700": {
        "kernel": 3,
        "stem": 5,
        "middle": 5,
        "width": 8,
        "heads": 2,
        "blocks": 1,
        "pooling_queries": 4,
        "scores": "both",
        "projections": "single",
        "positions": 64,
    },
    "attention_2k": {
        "kernel": 5,
        "stem": 8,
        "middle": 8,
        "width": 16,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 6,
        "scores": "both",
        "projections": "single",
        "positions": 64,
    },
    "attention_5k": {
        "kernel": 5,
        "stem": 16,
        "middle": 16,
        "width": 32,
        "heads": 4,
        "blocks": 2,
        "pooling_queries": 7,
        "scores": "both",
        "projections": "single",
        "positions": 64,
    },
    "attention_10k": {
        "kernel": 5,
        "stem": 16,
        "middle": 32,
        "width": 48,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 11,
        "scores": "both",
        "projections": "single",
        "positions": 64,
    },
    "attention_25k": {
        "kernel": 5,
        "stem": 32,
        "middle": 64,
        "width": 64,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 21,
        "scores": "both",
        "projections": "single",
        "positions": 64,
    },
    "attention_50k": {
        "kernel": 5,
        "stem": 48,
        "middle": 96,
        "width": 112,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 23,
        "scores": "both",
        "projections": "single",
        "positions": 64,
    },
}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network `name`: images (rows, channels, height, width) to logits (rows, classes).

    Parameters
    ----------
    options : ``kernel`` of the stem's first two convolutions, odd; ``stem`` and ``middle``, channels of its first two
        stages; ``width``, channels at every position;
        ``blocks`` of attention; ``pooling_queries``, weighted means of the positions that the head reads;
        ``positions``, how many there are at most: the stem's last stage is halved until they are; ``heads``,
        ``scores`` and ``projections`` as :class:`backends.models.attention.Attention` has them.

    Raises
    ------
    UserError
        Where :class:`backends.models.attention.Size` refuses the options or the image.
    """
    size = Size.of(name, options, input_shape)
    blocks = [(f"block_{number}", AttentionBlock(size.attention)) for number in range(size.blocks)]
    return AttentionNetwork(
        stem(input_shape[2], size),
        nn.Sequential(OrderedDict(blocks)),
        AttentionPooling(size.attention, size.queries),
        nn.Linear(size.means * size.attention.width, classes),
    )


def stem(channels: int, size: Size) -> nn.Module:
    """Return three stages, the last two separable convolutions: (rows, channels, h, w) to (rows, width, grid).

    The first two halve the image. Images that need more halvings are averaged down first, those that need fewer are
    halved less. The third is pooled where fewer positions are asked for.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if size.shrink > 1:
        parts["shrink"] = nn.AvgPool2d(size.shrink, ceil_mode=True)
    parts["conv_0"] = _convolution(channels, size.stem, size.kernel, size.strides[0])
    parts["relu_0"] = nn.ReLU(inplace=True)
    parts["depthwise_1"] = _convolution(size.stem, size.stem, size.kernel, depthwise=True)
    parts["pointwise_1"] = _convolution(size.stem, size.middle, 1)
    parts["relu_1"] = nn.ReLU(inplace=True)
    if size.strides[1] > 1:
        parts["pool_1"] = nn.MaxPool2d(2, ceil_mode=True)
    parts["depthwise_2"] = _convolution(size.middle, size.middle, 3, depthwise=True)
    parts["pointwise_2"] = _convolution(size.middle, size.attention.width, 1)
    parts["relu_2"] = nn.ReLU(inplace=True)
    if size.pool > 1:
        parts["pool_2"] = nn.MaxPool2d(size.pool, ceil_mode=True)
    return nn.Sequential(parts)


def _convolution(channels: int, width: int, size: int, stride: int = 1, depthwise: bool = False) -> nn.Module:
    groups = channels if depthwise else 1
    kernel = nn.Conv2d(channels, width, size, stride, padding=size // 2, groups=groups, bias=False)
    # every kernel has a norm behind it, so that the scale of its initial weights does not matter; not Keras's momentum
    # of 0.01: after the few hundred steps of a short training that still holds a part of its initial values
    # a gain and a bias behind a depthwise convolution would do nothing: the pointwise one has the gain, its norm no bias
    norm = BatchNorm(width, momentum=0.1, affine=not depthwise)
    return nn.Sequential(OrderedDict(conv=kernel, norm=norm))


class AttentionNetwork(nn.Module):
    """Stem, attention blocks, attention pooling and linear head in a row, from images to logits."""

    def __init__(self, stem: nn.Module, blocks: nn.Module, pool: nn.Module, logits: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.pool, self.logits = stem, blocks, pool, logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (rows, classes) for images (rows, channels, height, width)."""
        positions: Tensor = self.stem(images).flatten(2).transpose(1, 2).contiguous()
        logits: Tensor = self.logits(self.pool(self.blocks(positions)))
        return logits


class AttentionBlock(nn.Module):
    """Attention beside what was there, rectified and normalized; (rows, positions, width) to the same."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attend = RotaryAttention(attention)
        self.norm = BatchNorm(attention.width, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the positions with what they gathered."""
        both = torch.relu(x + self.attend(x)).flatten(0, 1)
        normalized: Tensor = self.norm(both)
        return normalized.view(x.shape)


class RotaryAttention(nn.Module):
    """Softmax attention by heads, its queries and keys rotated by position; (rows, positions, width) to the same.

    The softmax is written out: scaled_dot_product_attention takes longer on CPUs at these sizes.
    """

    initializers = INITIALIZERS

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.kind = attention
        for name, shape in attention.arrays().items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape), requires_grad=attention.learns(name)))
        if attention.position:
            pairs = attention.width // attention.heads // 2
            frequency = torch.empty(attention.heads, pairs, 2)
            self.frequency = nn.Parameter(frequency, requires_grad=attention.learns("frequency"))
            self.register_buffer("grid", _grid(attention), persistent=False)
            self.grid: Tensor
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values each position gathers."""
        value = self._project("value", x)
        if self.kind.scores == "none":
            return value
        if not self.kind.weighs:
            return value.mean(dim=1, keepdim=True)
        gathered = torch.matmul(self.shares(x), self._by_head(value))
        return gathered.transpose(1, 2).reshape(x.shape)

    def shares(self, x: Tensor) -> Tensor:
        """Return how much each position gathers of each other, (rows, heads, positions, positions), the last sum to 1.

        Where content does not weigh, one row stands for all.
        """
        rotation = self._rotation() if self.kind.position else None
        query, key = (self._by_head(self._project(part, x), rotation) for part in ("query", "key"))
        # scaled before the product, which is larger
        scores = torch.matmul(query * query.shape[3] ** -0.5, key.transpose(2, 3))
        return torch.softmax(scores, dim=3)

    def _project(self, part: str, x: Tensor) -> Tensor:
        weight: Tensor | None = getattr(self, f"{part}_weight", None)
        kernel: Tensor | None = getattr(self, f"{part}_kernel", None)
        bias: Tensor | None = getattr(self, f"{part}_bias", None)
        if weight is not None:
            return x * weight if bias is None else torch.addcmul(bias, x, weight)
        if kernel is not None:
            return x @ kernel if bias is None else x @ kernel + bias
        assert bias is not None
        return bias.expand(1, x.shape[1], -1)  # by position alone: the same for every position, until it is rotated

    def _rotation(self) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of each position's angle for each pair of channels, (positions, width / 2)."""
        angle = torch.matmul(self.grid, self.frequency.transpose(1, 2)).transpose(0, 1).flatten(1)
        return angle.cos(), angle.sin()

    def _by_head(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return (rows, heads, positions, size), perhaps rotated: the first half of the channels against the second.

        So a head has channels of both halves where its values have neighbouring ones: single-weight neurons stand in no
        order, and rotating halves takes half the time that rotating neighbours does.
        """
        heads = (*x.shape[:2], self.kind.heads, -1)
        if rotation is None:
            return x.view(heads).transpose(1, 2)
        (cosine, sine), (real, imaginary) = rotation, x.chunk(2, dim=2)
        rotated = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        return torch.cat([part.view(heads) for part in rotated], dim=3).transpose(1, 2)


class AttentionPooling(nn.Module):
    """A weighted mean of the positions for each learned query; (rows, positions, width) to (rows, queries * width)."""

    initializers = INITIALIZERS

    def __init__(self, attention: Attention, queries: int) -> None:
        super().__init__()
        self.kind = attention
        if attention.content:
            self.pool_query = nn.Parameter(torch.empty(queries, attention.width))
        if attention.position:
            self.pool_center = nn.Parameter(torch.empty(queries, 1, 2))
            self.pool_sharpness = nn.Parameter(torch.empty(queries, 1, 2))
            self.register_buffer("grid", _grid(attention), persistent=False)
            self.grid: Tensor
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of all queries side by side; where nothing weighs the positions, their mean."""
        if not self.kind.weighs:
            return x.mean(dim=1)
        return torch.matmul(self.shares(x), x).flatten(1)

    def shares(self, x: Tensor) -> Tensor:
        """Return how much of each position each query takes, (rows, queries, positions); the last sum to 1.

        Where content does not weigh, (queries, positions) for all rows.
        """
        scores = x.new_zeros(())
        if self.kind.content:
            scores = torch.matmul(self.pool_query * x.shape[2] ** -0.5, x.transpose(1, 2))
        if self.kind.position:
            window = (self.grid / 2 - self.pool_center) * self.pool_sharpness
            scores = scores - window.square().sum(dim=2)
        return torch.softmax(scores, dim=-1)


def _grid(attention: Attention) -> Tensor:
    return torch.tensor(coordinates(*attention.grid), dtype=torch.float32)


def initialize(part: nn.Module) -> None:
    """Draw a part's own parameters as :data:`backends.models.attention.INITIALIZERS` says."""
    for name, parameter in part.named_parameters(recurse=False):
        kind, _, scale = INITIALIZERS[name].partition(":")
        if kind == "normal":
            nn.init.normal_(parameter, std=float(scale))
        else:
            {"ones": nn.init.ones_, "zeros": nn.init.zeros_, "glorot_uniform": nn.init.xavier_uniform_}[kind](parameter)
