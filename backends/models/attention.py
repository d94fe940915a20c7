"""What the lightweight attention networks have in common in every framework: their sizes, and the way between positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from config import Scalar, UserError

MIN_POSITIONS, MAX_POSITIONS = 16, 64
"""Attention over fewer positions has little to choose from; its cost grows with their square."""


@dataclass(frozen=True)
class Size:
    """How large a network is, for images of one size.

    Attributes
    ----------
    width : channels at every position.
    heads : of attention; they divide the width.
    blocks : of attention.
    queries : weighted means of the positions that the head reads.
    shrink : by how much an image is averaged down first.
    strides : of the stem's first two convolutions.
    grid : height and width of the positions.
    """

    width: int
    heads: int
    blocks: int
    queries: int
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
        width, heads = int(options["width"]), int(options["heads"])
        blocks, queries = int(options["blocks"]), int(options["pooling_queries"])
        if min(width // 2, heads, blocks, queries) < 1 or width % heads:
            raise UserError(
                f"{name}: width {width}, heads {heads}, blocks {blocks}, pooling_queries {queries}; all must be at "
                "least 1, the width at least 2 and a multiple of the heads"
            )
        height, breadth, _ = input_shape
        halvings, grid = _grid(height, breadth)
        if grid[0] * grid[1] < MIN_POSITIONS:
            raise UserError(
                f"{name}: images of {height}x{breadth} pixels leave under {MIN_POSITIONS} positions to attend to"
            )
        strides = (2 if halvings > 0 else 1, 2 if halvings > 1 else 1)
        return cls(width, heads, blocks, queries, 2 ** max(halvings - 2, 0), strides, grid)


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
