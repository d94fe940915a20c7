"""What a chart shows, apart from who draws it: matplotlib in :mod:`common.report.drawing`, plotly in the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["line", "dots", "points"]


@dataclass(frozen=True)
class Axis:
    """An axis: its label with the unit, and whether it is logarithmic."""

    label: str
    log: bool = False


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes
    ----------
    label : what they are, as the legend says it.
    backend : whose color they have, ``torch`` or ``keras/jax``; ``published`` for figures of others.
    x, y : numbers or, on an axis of names, names.
    low, high : the ends of each point's 95% interval on the axis of figures; None where there is none.
    n : seeds behind each point.
    names : what each point is, where the series' label does not say it.
    style : which of the line styles and markers tells it from other series of the same color.
    """

    label: str
    backend: str
    x: Sequence[float | str]
    y: Sequence[float | str]
    n: Sequence[int]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    names: Sequence[str] | None = None
    style: int = 0


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes
    ----------
    name : of its files, and of its place in the page.
    group : under which heading it stands.
    caption : what is drawn, over how many seeds, and what else the reader must know.
    kind : ``line``, points joined in order of x; ``dots``, figures on x beside names on y; ``points``, not joined.
    front : points on the Pareto front in order of x, joined by steps; None where the chart has none.
    """

    name: str
    group: str
    title: str
    caption: str
    kind: Kind
    x: Axis
    y: Axis
    series: Sequence[Series]
    front: Sequence[tuple[float, float]] | None = None


def seeds(counts: Sequence[int]) -> str:
    """Return ``5 seeds``, or ``3 to 5 seeds``, for a caption."""
    few, most = min(counts), max(counts)
    return f"{most} seed{'s' * (most != 1)}" if few == most else f"{few} to {most} seeds"
