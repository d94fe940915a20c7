"""What the lightweight attention networks have in common in every framework: the family, its sizes, where a position is.

A single-weight neuron has one input, one weight and at most one bias: ``y_i = w_i * x_i + b_i``. A layer of them costs
two parameters a channel, where a dense layer of width n costs n + 1, and it mixes nothing. What mixes is attention
(Vaswani et al., 2017, "Attention is all you need"): its query, key and value are single-weight layers, and each
position gathers, one head at a time, the values of all others, weighted by how well query and key agree. Both are
rotated before by angles that grow with the row and the column (Su et al., 2021, "RoFormer: enhanced transformer with
rotary position embedding", here with learned frequencies), so that what a position looks for, and how far off and in
which direction it looks, is learned from five numbers a channel.

Before it, separable convolutions (Chollet, 2017, "Xception") turn the image into 16 to 64 positions; behind it, learned
queries take one weighted mean of the positions each, weighted by what stands there and by a learned window (Ilse et
al., 2018, "Attention-based deep multiple instance learning"; Lee et al., 2019, "Set Transformer"), and a linear head
reads them. The pure variant has no convolution: each neuron of its first layer sees one pixel of a patch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from config import Scalar, UserError

MIN_POSITIONS, MAX_POSITIONS = 16, 64
"""Attention over fewer positions has little to choose from; its cost grows with their square."""

SCORES = {
    "both": (True, True),
    "frozen": (True, True),
    "content": (True, False),
    "position": (False, True),
    "uniform": (False, False),
    "none": (False, False),
}
"""What weighs a position: its content (weights of query and key), and its position (rotation, and windows). ``frozen`` is
``both`` with query and key left as they were drawn; ``position`` has their biases alone; ``uniform`` is the plain mean;
``none`` has no attention between positions at all. The last two pool by the plain mean, once."""

INITIALIZERS = {
    "value_weight": "ones",
    "value_bias": "zeros",
    "query_weight": "normal:0.5",
    "query_bias": "normal:0.5",
    "key_weight": "normal:0.5",
    "key_bias": "normal:0.5",
    "value_kernel": "glorot_uniform",
    "query_kernel": "glorot_uniform",
    "key_kernel": "glorot_uniform",
    "frequency": "normal:0.6",
    "embedding_weight": "normal:1",
    "embedding_bias": "normal:0.3",
    "pool_query": "normal:1",
    "pool_center": "normal:1",
    "pool_sharpness": "ones",
    "pool_place": "normal:0.5",
    "pool_weight": "ones",
}
"""How each array starts, by its name: queries apart from each other, for alike they would long stay alike."""


@dataclass(frozen=True)
class Attention:
    """The attention between the positions of a grid.

    Attributes
    ----------
    width : channels at every position.
    heads : of attention; they divide the width into even parts.
    scores : one of :data:`SCORES`.
    projections : of query, key and value: ``single``, single-weight, or ``dense``.
    grid : height and width of the positions.
    """

    width: int
    heads: int
    scores: str
    projections: str
    grid: tuple[int, int]

    @classmethod
    def of(cls, name: str, options: Mapping[str, Scalar], width: int, grid: tuple[int, int]) -> Self:
        """Return the attention of network `name` with `options`.

        Raises
        ------
        UserError
            Where an option is unknown, the heads do not fit the width, or there is too little to attend over.
        """
        for key, known in {"scores": tuple(SCORES), "projections": ("single", "dense")}.items():
            if options[key] not in known:
                raise UserError(f"{name}: {key} {options[key]!r}; use one of {', '.join(known)}")
        heads = int(options["heads"])
        if heads < 1 or width % (2 * heads):
            raise UserError(f"{name}: heads {heads}; twice the heads must divide the width, {width}")
        if grid[0] * grid[1] < MIN_POSITIONS:
            raise UserError(f"{name}: the image leaves under {MIN_POSITIONS} positions to attend to")
        return cls(width, heads, str(options["scores"]), str(options["projections"]), grid)

    @property
    def positions(self) -> int:
        """How many positions there are."""
        return self.grid[0] * self.grid[1]

    @property
    def content(self) -> bool:
        """Whether a position's content weighs it."""
        return SCORES[self.scores][0]

    @property
    def position(self) -> bool:
        """Whether a position's place weighs it."""
        return SCORES[self.scores][1]

    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the parameters of query, key and value.

        A bias of the key adds the same to all scores of a query where nothing is rotated: softmax ignores it.
        """
        dense = self.projections == "dense"
        matrix = ("kernel", (self.width, self.width)) if dense else ("weight", (self.width,))
        parts = {
            "value": (True, True),
            "query": (self.content, self.content or self.position),
            "key": SCORES[self.scores],
        }
        found: dict[str, tuple[int, ...]] = {}
        for part, (weighs, shifts) in parts.items():
            found |= {f"{part}_{matrix[0]}": matrix[1]} if weighs else {}
            found |= {f"{part}_bias": (self.width,)} if shifts else {}
        return found

    @property
    def flops(self) -> int:
        """FLOPs of a sample, two a multiply-add: of dense projections, rotation, scores and what is gathered."""
        projections = sum(2 * self.positions * math.prod(shape) for shape in self.arrays().values() if len(shape) > 1)
        rotation = 2 * self.positions * self.width if self.position else 0
        return projections + rotation + (4 * self.positions**2 * self.width if self.weighs else 0)

    @property
    def weighs(self) -> bool:
        """Whether some positions may count for more than others."""
        return any(SCORES[self.scores])

    def shares_map(self, shares: np.ndarray | None, rows: int) -> np.ndarray:
        """Return what each position gets of the attention, mean over heads and queries, (rows, down, across).

        Parameters
        ----------
        shares : (rows, ..., positions), the last sum to 1; where they are the same for all rows, one row for all, or
            (queries, positions) without rows. None where nothing weighs the positions: all get the same.
        rows : how many there are.
        """
        if shares is None:
            shares = np.full((1, 1, self.positions), 1 / self.positions)
        shares = shares if shares.ndim > 2 else shares[None]
        mean = shares.reshape(len(shares), -1, self.positions).mean(axis=1)
        return np.broadcast_to(mean, (rows, self.positions)).reshape(rows, *self.grid)

    def learns(self, array: str) -> bool:
        """Say whether training changes an array of this name: where they are frozen, not what makes query and key."""
        return self.scores != "frozen" or not array.startswith(("query", "key", "frequency"))


@dataclass(frozen=True)
class Size:
    """How large a network with a convolution stem is, for images of one size.

    Attributes
    ----------
    kernel : height and width of the kernels of the stem's first two convolutions.
    stem, middle : channels of the stem's first and second stage.
    blocks : of attention.
    queries : weighted means of the positions that the head reads.
    attention : of each block.
    shrink : by how much an image is averaged down first.
    strides : of the stem's first two stages.
    pool : by how much the third is pooled.
    """

    kernel: int
    stem: int
    middle: int
    blocks: int
    queries: int
    attention: Attention
    shrink: int
    strides: tuple[int, int]
    pool: int

    @classmethod
    def of(cls, name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...]) -> Self:
        """Return the size of network `name` with `options` for images (height, width, channels).

        Raises
        ------
        UserError
            Where the options are not at least 1 (of ``positions``, 16 to 64), or do not fit each other, or the image is too
            small to attend over.
        """
        numbers = {key: int(options[key]) for key in ("kernel", "stem", "middle", "width", "blocks", "pooling_queries")}
        if min(numbers.values()) < 1 or numbers["kernel"] % 2 == 0:
            found = ", ".join(f"{key} {value}" for key, value in numbers.items())
            raise UserError(f"{name}: {found}; all must be at least 1, the kernel odd")
        positions = int(options.get("positions", MAX_POSITIONS))  # which older records have not
        if not MIN_POSITIONS <= positions <= MAX_POSITIONS:
            raise UserError(f"{name}: positions {positions}; give {MIN_POSITIONS} to {MAX_POSITIONS}")
        halvings, grid = _grid(input_shape[0], input_shape[1], MAX_POSITIONS)
        poolings, fewer = _grid(*grid, positions)
        if fewer[0] * fewer[1] < MIN_POSITIONS <= grid[0] * grid[1]:
            raise UserError(f"{name}: positions {positions}; halved until they are so few, the {grid[0]}x{grid[1]} of this "
                            f"image are {fewer[0]}x{fewer[1]}, and {MIN_POSITIONS} are needed")  # fmt: skip
        attention = Attention.of(name, options, numbers.pop("width"), fewer)
        strides = (2 if halvings > 0 else 1, 2 if halvings > 1 else 1)
        numbers["queries"] = numbers.pop("pooling_queries")
        shrink = 2 ** max(halvings - 2, 0)
        return cls(**numbers, attention=attention, shrink=shrink, strides=strides, pool=2**poolings)

    @property
    def means(self) -> int:
        """How many different means of the positions the head reads: equal weights give one."""
        return self.queries if self.attention.weighs else 1


def attends(part: Any) -> bool:
    """Say whether a module or layer is one of those here that weigh positions: its ``shares`` say how."""
    return isinstance(getattr(part, "kind", None), Attention)


def _grid(height: int, width: int, most: int) -> tuple[int, tuple[int, int]]:
    """Return how often a grid must be halved to come down to so many positions, and its height and width then."""
    halvings = 0
    while height * width > most:
        height, width, halvings = -(-height // 2), -(-width // 2), halvings + 1
    return halvings, (height, width)


def coordinates(height: int, width: int) -> np.ndarray:
    """Return row and column of each position of a grid, counted from its middle, (positions, 2) float64."""
    rows, columns = np.arange(height).repeat(width), np.tile(np.arange(width), height)
    return np.stack([rows - (height - 1) / 2, columns - (width - 1) / 2], axis=1)
