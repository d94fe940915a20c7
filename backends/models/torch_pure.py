"""The pure attention network, without convolution and without a dense layer but the head, as an nn.Module.

Every neuron before the head has one weight and at most one bias; nothing but attention mixes what they see.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from backends.models.attention import INITIALIZERS, MAX_POSITIONS, Attention
from backends.models.torch_attention import AttentionBlock, AttentionNetwork, initialize
from backends.models.torch_layers import BatchNorm
from config import Scalar, UserError

ARCHITECTURES = {
    "attention_pure": {"inputs": 128, "heads": 4, "blocks": 3, "scores": "both", "projections": "single"},
}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network `name`: images (rows, channels, height, width) to logits (rows, classes).

    Parameters
    ----------
    options : ``inputs``, the most inputs of the head: as many neurons look at each pixel as fit; ``blocks`` of
        attention; ``heads``, ``scores`` and ``projections`` as :class:`backends.models.attention.Attention` has them.

    Raises
    ------
    UserError
        Where the options are not at least 1, or do not fit each other or the image.
    """
    height, breadth, channels = input_shape
    patch = 1
    while -(-height // patch) * -(-breadth // patch) > MAX_POSITIONS:
        patch += 1
    pixels, inputs, count = patch**2 * channels, int(options["inputs"]), int(options["blocks"])
    # every pixel of a patch has as many neurons as the others, and every head as many pairs of them
    step = math.lcm(pixels, 2 * max(1, int(options["heads"])))
    if inputs < step or count < 1:
        raise UserError(
            f"{name}: inputs {inputs}, blocks {count}; use blocks of at least 1, and inputs of at least {step}, for "
            f"{options['heads']} heads and the {pixels} values in a patch of {patch}x{patch}"
        )
    grid = (-(-height // patch), -(-breadth // patch))
    attention = Attention.of(name, options, inputs // step * step, grid)
    blocks = [(f"block_{number}", AttentionBlock(attention)) for number in range(count)]
    return AttentionNetwork(
        Patches(patch, pixels, attention.width),
        nn.Sequential(OrderedDict(blocks)),
        HeadPooling(attention),
        nn.Linear(attention.width, classes),
    )


class Patches(nn.Module):
    """Several neurons a pixel of a patch, each with one weight for all patches; the pixels are normalized before.

    Images (rows, channels, height, breadth) to (rows, width, patches down, patches across).
    """

    initializers = INITIALIZERS

    def __init__(self, patch: int, pixels: int, width: int) -> None:
        super().__init__()
        self.patch, self.copies = patch, width // pixels
        self.embedding_weight = nn.Parameter(torch.empty(width, 1, 1))
        self.embedding_bias = nn.Parameter(torch.empty(width, 1, 1))
        self.norm = BatchNorm(pixels, momentum=0.1, affine=False)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the neurons' outputs; images that patches do not fill are padded with zeros below and right."""
        height, breadth = images.shape[2:]
        padded = functional.pad(images, (0, -breadth % self.patch, 0, -height % self.patch))
        pixels = self.norm(functional.pixel_unshuffle(padded, self.patch)).repeat(1, self.copies, 1, 1)
        return torch.addcmul(self.embedding_bias, pixels, self.embedding_weight)


class HeadPooling(nn.Module):
    """A weighted sum over the positions by each head, of values with one weight a position and channel.

    (rows, positions, width) to (rows, width), normalized and rectified. A position weighs as much as its content and
    its place say.
    """

    initializers = INITIALIZERS

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.kind = attention
        size = attention.width // attention.heads
        if attention.content:
            self.pool_query = nn.Parameter(torch.empty(attention.heads, size))
        if attention.position:
            self.pool_place = nn.Parameter(torch.empty(attention.heads, attention.positions))
        self.pool_weight = nn.Parameter(torch.empty(attention.positions, attention.width))
        self.norm = BatchNorm(attention.width, momentum=0.1)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return each head's sum."""
        value = x * self.pool_weight  # a bias would do nothing where content does not weigh: the norm takes it away
        pooled = torch.matmul(self.shares(x), self._by_head(value))
        rectified: Tensor = torch.relu(self.norm(pooled.flatten(1)))
        return rectified

    def shares(self, x: Tensor) -> Tensor:
        """Return how much of each position each head takes, (rows, heads, 1, positions); the last sum to 1.

        Where content does not weigh, one row stands for all.
        """
        scores = x.new_zeros(1, self.kind.heads, 1, self.kind.positions)
        if self.kind.content:
            query = self.pool_query.unsqueeze(1) * self.pool_query.shape[1] ** -0.5
            scores = scores + torch.matmul(query, self._by_head(x).transpose(2, 3))
        if self.kind.position:
            scores = scores + self.pool_place.unsqueeze(1)
        return torch.softmax(scores, dim=3)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.kind.heads, -1).transpose(1, 2)
