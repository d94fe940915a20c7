"""What the lightweight attention networks have in common in every framework: the family, its sizes, the way of positions.

A single-weight neuron has one input, one weight and at most one bias: ``y_i = w_i * x_i + b_i``. A layer of them costs
two parameters a channel, where a dense layer of width n costs n + 1, and it mixes nothing. What mixes is attention
(Vaswani et al., 2017, "Attention is all you need"): its query, key and value are single-weight layers, and each
position gathers, one head at a time, the values of all others, weighted by how well query and key agree plus a learned
number for the way from one to the other (Shaw et al., 2018, "Self-attention with relative position representations",
here one number a head and offset).

Before it, separable convolutions (Chollet, 2017, "Xception") turn the image into 16 to 64 positions; behind it, learned
queries take one weighted mean of the positions each, weighted by what stands there and by where (Ilse et al., 2018,
"Attention-based deep multiple instance learning"; Lee et al., 2019, "Set Transformer"), and a linear head reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from config import Scalar, UserError

MIN_POSITIONS, MAX_POSITIONS = 16, 64
"""Attention over fewer positions has little to choose from; its cost grows with their square."""

SCORES = {
    "both": (True, True),
    "content": (True, False),
    "position": (False, True),
    "uniform": (False, False),
    "none": (False, False),
}
"""What weighs a position: its content (query and key), and its place (a learned bias). ``uniform`` is the plain mean;
``none`` has no attention between positions at all, and its pooling is the plain mean, once."""


@dataclass(frozen=True)
class Size:
    """How large a network is, for images of one size.

    Attributes
    ----------
    kernel : height and width of the kernels of the stem's first two convolutions.
    stem, middle : channels of the stem's first and second stage.
    width : channels at every position.
    heads : of attention; they divide the width.
    blocks : of attention.
    queries : weighted means of the positions that the head reads.
    scores : one of :data:`SCORES`.
    shrink : by how much an image is averaged down first.
    strides : of the stem's first two stages.
    grid : height and width of the positions.
    """

    kernel: int
    stem: int
    middle: int
    width: int
    heads: int
    blocks: int
    queries: int
    scores: str
    shrink: int
    strides: tuple[int, int]
    grid: tuple[int, int]

    @classmethod
    def of(cls, name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...]) -> Self:
        """Return the size of network `name` with `options` for images (height, width, channels).

        Raises
        ------
        UserError
            Where the options are not at least 1, or do not fit each other, or the image is too small to attend over.
        """
        numbers = {
            key: int(options[key])
            for key in ("kernel", "stem", "middle", "width", "heads", "blocks", "pooling_queries")
        }
        if min(numbers.values()) < 1 or numbers["width"] % numbers["heads"] or numbers["kernel"] % 2 == 0:
            found = ", ".join(f"{key} {value}" for key, value in numbers.items())
            raise UserError(
                f"{name}: {found}; all must be at least 1, the kernel odd, the width a multiple of the heads"
            )
        if options["scores"] not in SCORES:
            raise UserError(f"{name}: scores {options['scores']!r}; use one of {', '.join(SCORES)}")
        height, breadth, _ = input_shape
        halvings, grid = _grid(height, breadth)
        if grid[0] * grid[1] < MIN_POSITIONS:
            raise UserError(
                f"{name}: images of {height}x{breadth} pixels leave under {MIN_POSITIONS} positions to attend to"
            )
        numbers["queries"] = numbers.pop("pooling_queries")
        strides = (2 if halvings > 0 else 1, 2 if halvings > 1 else 1)
        shrink = 2 ** max(halvings - 2, 0)
        return cls(**numbers, scores=str(options["scores"]), shrink=shrink, strides=strides, grid=grid)

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

    @property
    def means(self) -> int:
        """How many different means of the positions the head reads: equal weights give one."""
        return self.queries if self.content or self.position else 1


def _grid(height: int, width: int) -> tuple[int, tuple[int, int]]:
    """Return how often an image must be halved to come down to MAX_POSITIONS, and its height and width then."""
    halvings = 0
    while height * width > MAX_POSITIONS:
        height, width, halvings = -(-height // 2), -(-width // 2), halvings + 1
    return halvings, (height, width)


def offsets(height: int, width: int) -> np.ndarray:
    """Return the number of the way from each position of a grid to each other, (positions, positions) int64.

    Numbers run from 0 to (2 height - 1) (2 width - 1) - 1; the same way from any position has the same number.
    """
    rows, columns = np.arange(height).repeat(width), np.tile(np.arange(width), height)
    down, right = rows[:, None] - rows + height - 1, columns[:, None] - columns + width - 1
    return np.asarray(down * (2 * width - 1) + right)
