"""Rows compared over several data sets by their ranks: Friedman, Nemenyi, and the critical-difference diagram's data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from common.naming import row_names
from common.stats import ALPHA
from common.summary import SAME_TEST, SPEC_FIELDS, configuration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA = ["dataset", "data_sha256"]
"""What makes a block: splits of a data set and draws of its rows share images, so they are not independent."""


@dataclass(frozen=True)
class RankTest:
    """Average ranks of treatments over blocks, and what a critical-difference diagram draws of them.

    Attributes
    ----------
    blocks : data sets that the ranks are averaged over.
    ranks : average rank by treatment, 1 is best, in that order; equal scores share theirs.
    statistic, p : Friedman's chi-square and its p-value that all treatments rank alike.
    critical_difference : the least difference of two average ranks that Nemenyi's test tells apart.
    cliques : largest sets of neighboring treatments that it does not tell apart, two or more in each.
    """

    blocks: int
    ranks: pd.Series[float]
    statistic: float
    p: float
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]


def friedman(scores: pd.DataFrame, higher: bool = True, alpha: float = ALPHA) -> RankTest:
    """Compare three or more treatments over two or more blocks.

    Parameters
    ----------
    scores : a row a block, a column a treatment, none missing; blocks must be independent of each other, as data sets
        are and several splits of one are not.
    higher : whether a higher score is better.
    alpha : level of Nemenyi's test.

    Raises
    ------
    ValueError
        Below three treatments or two blocks, or where a score is missing.

    Notes
    -----
    M. Friedman, JASA 32 (1937), as ``scipy.stats.friedmanchisquare`` computes it; J. Demsar, "Statistical comparisons
    of classifiers over multiple data sets", JMLR 7 (2006), for the procedure and the diagram.
    """
    blocks, treatments = scores.shape
    if treatments < 3 or blocks < 2 or scores.isna().any(axis=None):
        raise ValueError(f"needs 3 treatments and 2 blocks without gaps, got {treatments} and {blocks}")
    from scipy.stats import friedmanchisquare

    ranks = scores.rank(axis=1, ascending=not higher).mean().sort_values(kind="stable")
    if (scores.nunique(axis=1) == 1).all():  # all tied: scipy divides by zero
        statistic, p = 0.0, 1.0
    else:
        statistic, p = map(float, friedmanchisquare(*(scores[name] for name in scores.columns)))
    critical = critical_difference(treatments, blocks, alpha)
    return RankTest(blocks, ranks, statistic, p, critical, cliques(ranks, critical))


def critical_difference(treatments: int, blocks: int, alpha: float = ALPHA) -> float:
    """Least difference of two average ranks that Nemenyi's test tells apart.

    Notes
    -----
    q * sqrt(k (k + 1) / (6 N)), q from the studentized range divided by sqrt(2): Demsar (2006), section 3.2.2.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, treatments, math.inf)) / math.sqrt(2)
    return q * math.sqrt(treatments * (treatments + 1) / (6 * blocks))


def cliques(ranks: pd.Series[float], critical: float) -> tuple[tuple[str, ...], ...]:
    """Return the bars of a critical-difference diagram: largest runs of ranks less than `critical` apart.

    Parameters
    ----------
    ranks : average ranks in ascending order.
    """
    found: list[tuple[str, ...]] = []
    reached = 0
    for first in range(len(ranks)):
        last = max(at for at in range(first, len(ranks)) if ranks.iloc[at] - ranks.iloc[first] < critical)
        if last > first and last > reached:
            found.append(tuple(map(str, ranks.index[first : last + 1])))
            reached = last
    return tuple(found)


def nemenyi(scores: pd.DataFrame, higher: bool = True) -> pd.DataFrame:
    """Return Nemenyi's p-value for each pair of treatments, as a square table.

    Parameters
    ----------
    scores : as for :func:`friedman`.

    Notes
    -----
    P. Nemenyi (1963), as ``scikit_posthocs.posthoc_nemenyi_friedman`` computes it.
    """
    from scikit_posthocs import posthoc_nemenyi_friedman

    found: pd.DataFrame = posthoc_nemenyi_friedman(-scores.to_numpy("float64") if higher else scores.to_numpy())
    return found.set_axis(scores.columns, axis=0).set_axis(scores.columns, axis=1)


def rank_lines(rows: pd.DataFrame) -> list[str]:
    """Say how the rows of a summary rank in test accuracy over its data sets; nothing where there is one data set.

    A data set is one block, its score the mean over its splits and sizes, which are not independent of each other.
    Treatments are the configurations that ran on every data set, split and size.
    """
    data = _data_sets(rows)
    if data < 2:
        return []
    scores = blocks(rows)
    if scores.shape[1] < 3:
        return [f"ranks over the {data} data sets: not tested; that takes 3 configurations that ran on all of them, "
                f"and there {'is' if scores.shape[1] == 1 else 'are'} {scores.shape[1]}."]  # fmt: skip
    found = friedman(scores)
    ranks = ", ".join(f"{name} {rank:.2f}" for name, rank in found.ranks.items())
    verdict = "the ranks can be told apart" if found.p < ALPHA else "the ranks cannot be told apart"
    lines = [
        f"average ranks in accuracy over {data} data sets (1 is best): {ranks}.",
        f"Friedman: chi-square {found.statistic:.2f}, p {'<0.001' if found.p < 0.001 else f'{found.p:.3f}'}: {verdict}. Nemenyi: two rows differ from a "
        f"difference in average rank of {found.critical_difference:.2f} on (critical difference, 5%).",
    ]
    if found.critical_difference > found.ranks.size - 1:
        return [
            *lines,
            f"{data} data sets are too few for {found.ranks.size} rows: no two ranks can be that far apart.",
        ]
    bars = "; ".join(", ".join(clique) for clique in found.cliques)
    return [*lines, *([f"not told apart by rank: {bars}."] if bars else [])]


def _data_sets(rows: pd.DataFrame) -> int:
    return rows.groupby(DATA, dropna=False).ngroups if len(rows) else 0


def diagram(rows: pd.DataFrame) -> Figure | None:
    """Return the critical-difference diagram of a summary's rows, or None where there is none to draw.

    It takes two data sets and three configurations that ran on all of them. A line joins the rows whose average ranks
    Nemenyi's test does not tell apart (Demsar, 2006, as ``scikit_posthocs.critical_difference_diagram`` draws it).
    """
    scores = blocks(rows) if _data_sets(rows) > 1 else pd.DataFrame()
    if scores.shape[1] < 3:
        return None
    from matplotlib.figure import Figure
    from scikit_posthocs import critical_difference_diagram

    found = friedman(scores)
    drawn = Figure(figsize=(8, 1.2 + 0.25 * len(found.ranks)), layout="constrained")
    axes = drawn.add_subplot()
    critical_difference_diagram(found.ranks, nemenyi(scores), cd=found.critical_difference, alpha=ALPHA, ax=axes)
    axes.set_title(f"average rank in accuracy over {found.blocks} data sets, 1 is best")
    return drawn


def blocks(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean accuracies: a row a data set, a column a configuration that ran on all data sets, splits and sizes."""
    fields = [name for name in SPEC_FIELDS if name not in SAME_TEST]
    cells: dict[Any, dict[Any, list[float]]] = {}
    heads: dict[Any, Any] = {}
    for at, row in zip(rows.index, rows.to_dict("records"), strict=True):
        which = configuration(row, fields)
        heads.setdefault(which, at)
        cells.setdefault(which, {}).setdefault(configuration(row, DATA), []).append(row["test_accuracy_mean"])
    tests = rows.groupby(SAME_TEST, dropna=False).ngroups
    whole = [which for which, found in cells.items() if sum(map(len, found.values())) == tests]
    named = rows.loc[[heads[which] for which in whole]].copy()
    for field in SAME_TEST:  # so that no name says on which data
        named[field] = rows[field].iloc[0]
    names = row_names(named)
    blocks = list(dict.fromkeys(block for found in cells.values() for block in found))
    means = {name: [sum(cells[which][block]) / len(cells[which][block]) for block in blocks]
             for name, which in zip(names, whole, strict=True)}  # fmt: skip
    return pd.DataFrame(means)
