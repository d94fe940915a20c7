"""Charts as matplotlib figures, in colors that the color-blind can tell apart; PNG and SVG files of them."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.report.charts import Chart, Series
from common.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {
    "sklearn": "#e69f00",
    "keras/tensorflow": "#0072b2",
    "keras/jax": "#009e73",
    "keras/torch": "#56b4e9",
    "torch": "#cc79a7",
    "published": "#767676",
}
"""A framework's color everywhere (Okabe and Ito, "Color Universal Design", 2008)."""
OTHERS = ("#d55e00", "#a68b00", "#5a5a5a")
"""Colors of backends that users registered."""

DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")
PLOTLY_DASHES = ("solid", "dash", "dot", "dashdot")
PLOTLY_MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
DPI = 130
MOST_MARKERS, MOST_NAMES = 40, 12
"""Points of a series that are marked, and that are named in the picture."""
LINE_OF_NAME = 30
"""Characters of a name on one line; a searched network's with its settings has a hundred."""


def color(backend: str) -> str:
    """Return a backend's color; that of one without its own depends on its name alone."""
    return COLORS.get(backend) or OTHERS[sum(backend.encode()) % len(OTHERS)]


class _Shown(Figure):
    """A figure that a notebook shows by itself, whether or not pyplot is at work there."""

    def _repr_png_(self) -> bytes:
        return png(self)


def figure(width: float = 8.0, height: float = 5.0) -> Figure:
    """Return an empty figure in the project's style; none of matplotlib's global state is touched."""
    return _Shown(figsize=(width, height), layout="constrained")


def plain(text: str) -> str:
    """Return text that matplotlib does not read mathematics into."""
    return text.replace("$", r"\$")


def in_lines(name: str) -> str:
    """Return a name, plain, in lines of :data:`LINE_OF_NAME` characters at most where an option or a word begins a new one."""
    lines = [""]
    for part in re.split(r"(?=\+)|(?<= )(?!\d)", name):  # a value stays with its name
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > LINE_OF_NAME:
            lines.append("")
        lines[-1] += part
    return plain("\n".join(line.rstrip() for line in lines))


def draw(chart: Chart) -> Figure:
    """Return a chart as a figure: units on its axes, intervals drawn, what the reader must know below it."""
    names = list(dict.fromkeys(str(name) for one in chart.series for name in one.y)) if chart.kind == "dots" else []
    ticks, entries = [*map(in_lines, names)], [in_lines(one.label) for one in chart.series]
    drawn = figure(height=max(4.0, 1.8 + 0.15 * (len(ticks) + _lines(ticks)), 1.0 + 0.18 * _lines(entries)))
    axes = drawn.add_subplot()
    for place, one in enumerate(chart.series):
        if chart.kind == "dots":
            _dots(axes, chart, one, place, names)
        else:
            _points(axes, chart, one, place)
    if chart.front:
        x, y = zip(*chart.front, strict=True)
        axes.step(x, y, where="post", color="#767676", linewidth=1, zorder=0)
    if chart.kind == "dots":
        axes.set_yticks(range(len(names)), ticks)
        axes.invert_yaxis()
    elif any(isinstance(value, str) for one in chart.series for value in one.x):
        axes.tick_params(axis="x", rotation=30)
    axes.set(title=chart.title, xlabel=chart.x.label, ylabel=chart.y.label)
    if chart.x.log:
        axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    caption(drawn, chart.caption)
    return drawn


def _lines(texts: list[str]) -> int:
    return sum(1 + text.count("\n") for text in texts)


def caption(drawn: Figure, text: str) -> None:
    """Write what the reader must know below a figure."""
    width = int(13 * drawn.get_figwidth())
    drawn.supxlabel("\n".join(textwrap.wrap(text, width)), fontsize="small", color="#404040", x=0.01, ha="left")


def _points(axes: Axes, chart: Chart, one: Series, place: int) -> None:
    backends = list(dict.fromkeys(other.backend for other in chart.series))
    over = backends.index(one.backend)
    rank = (
        len(backends) - 1 - over
    )  # equal networks in several frameworks are one line: the first, below, is the widest
    look: dict[str, Any] = {"color": color(one.backend), "label": in_lines(one.label), "zorder": 2 + over}
    if chart.kind == "line":
        look |= {"linestyle": DASHES[one.style % len(DASHES)], "linewidth": 1.3 + 1.3 * min(rank, 3), "markersize": 5}
        marker = MARKERS[one.style % len(MARKERS)] if len(one.x) < MOST_MARKERS else "none"
    else:
        look |= {"linestyle": "none", "fillstyle": "none", "markersize": 5 + 3 * min(rank, 3)}
        marker = MARKERS[place % len(MARKERS)] if one.backend != "published" else "x"
    axes.plot([plain(x) if isinstance(x, str) else x for x in one.x], one.y, marker=marker, **look)
    if chart.x.label in ("epoch", "candidate"):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if one.names is not None and len(one.names) <= MOST_NAMES:
        for point, name in zip(zip(one.x, one.y, strict=True), one.names, strict=True):
            text = in_lines(name.partition(" (")[0])
            axes.annotate(
                text,
                point,
                xytext=(4, 5 if one.backend == "published" else -9),
                textcoords="offset points",
                fontsize=6,
                color=look["color"],
            )
    if one.low is None or one.high is None:
        return
    ends = [(x, low, high) for x, low, high in zip(one.x, one.low, one.high, strict=True) if low is not None]
    if not ends:
        return
    x, low, high = zip(*ends, strict=True)
    if chart.kind == "line" and not isinstance(x[0], str):
        axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    else:
        axes.vlines(x, low, high, color=look["color"], linewidth=1)


def _dots(axes: Axes, chart: Chart, one: Series, place: int, names: list[str]) -> None:
    spread = 0.5 / max(1, len(chart.series))
    at = [names.index(str(name)) + (place - (len(chart.series) - 1) / 2) * spread for name in one.y]
    axes.plot(
        one.x,
        at,
        linestyle="none",
        marker=MARKERS[place % len(MARKERS)],
        markersize=5,
        color=color(one.backend),
        label=in_lines(one.label),
    )
    if one.low is not None and one.high is not None:
        for y, low, high in zip(at, one.low, one.high, strict=True):
            if low is not None and high is not None:
                axes.hlines(y, low, high, color=color(one.backend), linewidth=1)


def save(drawn: Figure, stem: Path) -> bytes:
    """Write a figure as ``stem.png``, whose bytes are returned, and ``stem.svg``; equal records give equal bytes."""
    content = png(drawn)
    write_atomically(stem.with_suffix(".png"), content)
    drawn.set_layout_engine("none")  # what was laid out stays so: a second time takes as long as the drawing
    with matplotlib.rc_context({"svg.hashsalt": "samenet", "svg.fonttype": "none"}):
        write_atomically(stem.with_suffix(".svg"), _file(drawn, format="svg", metadata={"Date": None}))
    return content


def save_chart(chart: Chart, stem: Path) -> None:
    """Draw a chart and write it, see :func:`save`."""
    save(draw(chart), stem)


def png(drawn: Figure) -> bytes:
    """Return a figure as the bytes of a PNG."""
    return _file(drawn, format="png", dpi=DPI, metadata={"Software": None})


def _file(drawn: Figure, **how: Any) -> bytes:
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font has not
        drawn.savefig(data, **how)
    return data.getvalue()
