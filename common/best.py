"""Which rows of a table can be told apart from the best of their group, without claiming it too often."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.stats import ALPHA, CLAIM_SEEDS, holm, t_tests

BEST, TOLD_APART, NOT_TOLD_APART = "best", "told apart", "not told apart"

BLOCK = 4096
"""Pairs tested at a time: their scores stay in the processor's cache."""


@dataclass(frozen=True)
class Against:
    """What a row's scores say against the best row: one of the words, and the adjusted p-value; None where not tested."""

    verdict: str | None = None
    p: float | None = None


def against_best(groups: Sequence[NDArray[np.float64]]) -> list[list[Against]]:
    """Say which rows of a table can be told apart from the best row of their group.

    Which row is best is itself chance, and comparing all others with the luckiest of many equal rows would claim a
    difference far too often. So every pair of rows in a group is tested, paired t by seed, with Holm's adjustment
    over all pairs of all groups: whichever row turns out best, its pairs are among them, and in a table without
    any difference the probability of claiming one is 5% at most. Rows equal in every seed (the same network in
    two frameworks) are one row to the tests.

    Parameters
    ----------
    groups : for each group scores, (seeds, rows), higher is better, NaN where a seed is missing.

    Returns
    -------
    list of list of Against
        For each group and row. Best is the highest mean among rows of five seeds; a row with fewer than five seeds
        (:data:`CLAIM_SEEDS`), or fewer in common with the best, is not tested.
    """
    tested = [_all_pairs(scores) for scores in groups]
    adjusted = holm(np.concatenate([np.empty(0), *(pairs.ps for pairs, _ in tested)]))
    ends = np.cumsum([0, *(len(pairs.ps) for pairs, _ in tested)])
    return [
        _against(scores, replace(pairs, ps=adjusted[start:end]), same_as)
        for scores, (pairs, same_as), (start, end) in zip(groups, tested, itertools.pairwise(ends), strict=True)
    ]


@dataclass(frozen=True)
class _Pairs:
    """Pairs of rows that were tested, with their p-values: arrays, as a table of 1,000 rows has half a million."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    ps: NDArray[np.float64]

    def with_row(self, row: int) -> dict[int, float]:
        """Return the p-value of `row` against each other row that it was tested against."""
        here = (self.first == row) | (self.second == row)
        others = self.first[here] + self.second[here] - row
        return dict(zip(others.tolist(), self.ps[here].tolist(), strict=True))


def _all_pairs(scores: NDArray[np.float64]) -> tuple[_Pairs, list[int | None]]:
    """Test all pairs of rows; return also, for each row, the first that it equals, None for one with few seeds."""
    first: dict[Any, int] = {}
    same_as: list[int | None] = []
    for at, column in enumerate(scores.T):
        enough = (~np.isnan(column)).sum() >= CLAIM_SEEDS
        same_as.append(first.setdefault(column.tobytes(), at) if enough else None)
    rows = np.array(list(dict.fromkeys(row for row in same_as if row is not None)), np.int64)
    there = (~np.isnan(scores[:, rows])).astype(np.float64)
    one, other = np.nonzero(np.triu(there.T @ there >= CLAIM_SEEDS, 1))
    one, other = rows[one], rows[other]
    blocks = [slice(start, start + BLOCK) for start in range(0, len(one), BLOCK)]
    ps = [t_tests(scores[:, one[block]] - scores[:, other[block]]) for block in blocks]
    return _Pairs(one, other, np.concatenate([np.empty(0), *ps])), same_as


def _against(scores: NDArray[np.float64], pairs: _Pairs, same_as: list[int | None]) -> list[Against]:
    rows = [row for row in same_as if row is not None]
    if len(rows) < 2:
        return [Against() for _ in same_as]
    best = max(rows, key=lambda row: float(np.nanmean(scores[:, row])))
    found, of_best = [], pairs.with_row(best)
    for at, row in enumerate(same_as):
        p = None if row is None else 1.0 if row == best else of_best.get(row)
        if p is None:
            found.append(Against())
        else:
            found.append(Against(BEST if at == best else TOLD_APART if p < ALPHA else NOT_TOLD_APART, p))
    return found
