"""The pairwise report as a reader sees it: a table for each configuration, and below it a verdict on each figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from common.layout import DASH, Cell, Column, HumanFormat, lay_out
from common.pairs import Line, Side
from common.stats import ALPHA, CLAIM_SEEDS, seeds_needed
from common.tables import number, percent, to_csv

METHODS = [
    "pairs: trials of the same seed, data, split and settings, ended well on both sides; times of trials beside "
    "others, or of which one seed took more than twice as long as another for the same work, and energies found in "
    "different ways, are not compared.",
    "difference: first minus second, mean over pairs, 95% interval Student's t (BCa bootstrap from 20 pairs on); x: "
    "first divided by second, median over pairs, its interval between order statistics (from 6 pairs on at least 95%; the range of 5 holds the median with "
    "probability 94%, of 3 with 75%).",
    "p: paired t test, of ratios by their logarithm, Holm over this whole report. Wilcoxon beside it: exact up to 50 pairs (13 with ties), the "
    "least p that so few pairs can give in brackets, not adjusted.",
    "alone right: test examples that one side alone classifies rightly, summed over seeds. p: McNemar's exact test in "
    "each seed, one-sided, combined in each direction by the k-th smallest of K times K/k, k just above half of K "
    "(about twice the median), and twice the smaller of the two: test sets of different seeds share examples, so adding "
    "them up would make p too small.",
]


def render_pairs(
    lines: Sequence[Line], first: Side, second: Side, format: HumanFormat | Literal["csv"], *, width: int | None = None
) -> str:
    """Show the comparison of two sides.

    Parameters
    ----------
    lines : as :func:`common.pairs.compare` returns.

    Returns
    -------
    str
        Ends in a line feed; as CSV a row a line, with everything that was found.
    """
    if format == "csv":
        return to_csv(_frame(lines, first, second))
    places = list(dict.fromkeys(line.where for line in lines))
    parts = []
    for place in places:
        here = [line for line in lines if line.where == place]
        title = f"all {len(places) - 1} configurations, each seed's mean over them" if place is None else place
        head = f"{first.name} against {second.name}: {title}"
        notes = [f"{line.quantity.header}: {verdict(line, first.name, second.name)}" for line in here]
        parts.append(lay_out(_columns(here, first, second), [head], notes, format, width, "--format csv"))
    return "\n".join([*parts, lay_out([], [], METHODS, format, width, "")])


def verdict(line: Line, first: str, second: str) -> str:
    """Say in words what may be concluded from one figure."""
    kind, n = line.quantity.kind, line.effect.n
    if line.reason is not None:
        return f"not compared: {line.reason}."
    if kind == "answers":
        return _answers_verdict(line, first, second)
    if kind == "count":
        ratio = line.effect.value or 0.0
        return "the same in both." if ratio == 1 else f"{first} has {number(ratio)} times as many as {second}."
    if line.beats.low is not None and line.sd in (0.0, None) and _nothing(line):
        return f"equal in {'all ' * (n > 1)}{n} pair{'s' * (n > 1)}."
    change = _change_in_words(line)
    if n == 1:
        return f"{change}; of one pair the spread is unknown, so nothing can be concluded."
    if n < CLAIM_SEEDS:
        text = f"{n} pairs support no claim: {change}{_needed(line)}."
    elif line.adjusted_p is not None and line.adjusted_p < ALPHA:
        better = first if line.favors_first else second
        text = f"{better} is better: {change}."
    else:
        alone = ""
        if _excludes_none(line):
            alone = f" once all figures here are judged together (Holm's p {line.adjusted_p:.2g}); of this one alone"
        text = f"cannot be told apart{alone}: {change}{_needed(line)}."
    return text + (_further(line, first, second) if line.quantity.column == "test_accuracy" else "")


def _nothing(line: Line) -> bool:
    return line.effect.value == _no_difference(line)


def _no_difference(line: Line) -> int:
    return 1 if line.quantity.kind == "ratio" else 0


def _excludes_none(line: Line) -> bool:
    """Whether the figure's own interval, of this figure alone, leaves out that there is no difference."""
    low, high = line.effect.low, line.effect.high
    if low is None or high is None or line.adjusted_p is None:
        return False
    return not low <= _no_difference(line) <= high


def _change_in_words(line: Line) -> str:
    effect = line.effect
    if effect.value is None:
        return "no difference is known"
    word = "ratio" if line.quantity.kind == "ratio" else "difference"
    unit = " points" if line.quantity.kind == "points" else ""
    text = f"the {word} is {_amount(line, effect.value)}{unit}"
    return text + (f", interval {_interval(line)}" if effect.low is not None else "")


def _amount(line: Line, value: float) -> str:
    if line.quantity.kind == "points":
        return percent(round(value, 4) + 0.0)  # no -0.00
    return number(value) if line.quantity.kind in ("ratio", "count") else f"{value:.2g}"


def _interval(line: Line) -> str:
    low, high = line.effect.low, line.effect.high
    return DASH if low is None or high is None else f"[{_amount(line, low)}, {_amount(line, high)}]"


def _needed(line: Line) -> str:
    """Say how many seeds would show the least difference that is worth knowing."""
    worth = line.quantity.worth
    if not line.sd:
        return ""
    ratio = line.quantity.kind == "ratio"
    seeds = seeds_needed(line.sd, math.log1p(worth) if ratio else worth)
    unit = {"points": f"{percent(worth)} points", "ratio": f"{worth:.0%}"}.get(line.quantity.kind, f"{worth:g}")
    return f"; {seeds:,} seeds would be needed to see a difference of {unit}"


def _further(line: Line, first: str, second: str) -> str:
    beats = line.beats
    if beats.value is None or beats.low is None or beats.high is None or line.wilcoxon_p is None:
        return ""
    return (f" {first} beats {second} with probability {beats.value:.2f} [{beats.low:.2f}, {beats.high:.2f}]; "
            f"Wilcoxon p {line.wilcoxon_p:.3g} (least possible {line.wilcoxon_least_p:.2g}).")  # fmt: skip


def _answers_verdict(line: Line, first: str, second: str) -> str:
    seeds = f"{line.effect.n} seed{'s' * (line.effect.n > 1)}"
    if not line.first and not line.second:
        return f"both have the same test examples right in {seeds}."
    if line.adjusted_p is not None and line.adjusted_p < ALPHA:
        better = first if line.favors_first else second
        text = f"{better}'s trained networks are right more often"
        ahead = (line.effect.value or 0.0) * (1 if line.favors_first else -1)
        text += "" if ahead > 0 else " with most seeds, though not over all of them added up"
    else:
        text = "the trained networks cannot be told apart by which test examples they have right"
    few = ", which says nothing of other seeds" if line.effect.n < CLAIM_SEEDS else ""
    return f"{text} ({seeds}{few})."


def _columns(lines: Sequence[Line], first: Side, second: Side) -> list[Column]:
    def cells(texts: Sequence[str]) -> list[Cell]:
        return [Cell(text) for text in texts]

    return [
        Column("figure", cells([line.quantity.header for line in lines]), right=False),
        Column(first.name, cells([_value(line, line.first) for line in lines])),
        Column(second.name, cells([_value(line, line.second) for line in lines])),
        Column("difference", cells([_change(line) for line in lines])),
        Column("interval", cells([_interval(line) for line in lines]), 90),
        Column("pairs", cells([str(line.effect.n) if line.effect.n else DASH for line in lines]), 50),
        Column("p (Holm)", cells([_p_text(line.adjusted_p) for line in lines])),
    ]


def _value(line: Line, value: float | None) -> str:
    if value is None:
        return DASH
    kind = line.quantity.kind
    if kind in ("count", "answers"):
        return f"{value:,.0f}"
    return percent(value) if kind == "points" else f"{value:.4f}" if kind == "difference" else number(value)


def _change(line: Line) -> str:
    value = line.effect.value
    if value is None:
        return DASH
    if line.quantity.kind in ("ratio", "count"):
        return f"x {number(value)}"
    return f"{value:+,.0f}" if line.quantity.kind == "answers" else f"{'+' * (value > 0)}{_amount(line, value)}"


def _p_text(p: float | None) -> str:
    return DASH if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _frame(lines: Sequence[Line], first: Side, second: Side) -> pd.DataFrame:
    rows = [
        {
            "configuration": "all" if line.where is None else line.where,
            "figure": line.quantity.column,
            "compared_by": line.quantity.kind,
            "first_name": first.name,
            "second_name": second.name,
            "first": line.first,
            "second": line.second,
            "effect": line.effect.value,
            "low": line.effect.low,
            "high": line.effect.high,
            "level": line.effect.level,
            "sd": line.sd,
            "pairs": line.effect.n,
            "p": line.p,
            "p_holm": line.adjusted_p,
            "wilcoxon_p": line.wilcoxon_p,
            "wilcoxon_least_p": line.wilcoxon_least_p,
            "first_beats_second": line.beats.value,
            "first_beats_second_low": line.beats.low,
            "first_beats_second_high": line.beats.high,
            "verdict": verdict(line, first.name, second.name),
        }
        for line in lines
    ]
    return pd.DataFrame(rows)
