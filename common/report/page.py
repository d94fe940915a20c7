"""``report.html``: one file with everything in it, that works offline and asks nobody for anything."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import tables
from common.naming import caption, unlike
from common.report import answer, details, drawing, leaderboard
from common.store import to_json

if TYPE_CHECKING:
    from common.results import Results

_HERE = Path(__file__).resolve().parent


def page(results: Results, pictures: Sequence[tuple[str, str, bytes]], notes: Sequence[str]) -> str:
    """Return the page.

    Parameters
    ----------
    pictures : title, caption and PNG of each.
    notes : what could not be shown, and why.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    rows = results.rows
    counts = details.outcomes(results)
    return environment.get_template("page.html").render(
        run=results.run.name,
        question=results.study["question"],
        note=results.study["note"],
        answer=answer.paragraph(results),
        shared=caption(rows),
        unlike=unlike(rows) if len(rows) else None,
        counts=counts,
        seeds=results.trials["seed"].nunique(),
        notes=tables.notes(results.summary),
        failures=tables.failure_lines(results.summary),
        missing=notes,
        fairness=fairness(results),
        pictures=[(title, text, _data_uri(data)) for title, text, data in pictures],
        # the browser inflates them: a third of the size, and nothing in them can end a script element
        data=_packed(to_json(data(results)).encode()),
        plotly=_packed(_plotly()),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
    )


def data(results: Results) -> dict[str, Any]:
    """Return what the page's script works with: the table, the charts and the details of all trials."""
    backends = sorted({one.backend for chart in results.charts.values() for one in chart.series})
    return {
        "board": leaderboard.board(results.rows),
        "charts": [asdict(chart) for chart in results.charts.values()],
        "colors": {backend: drawing.color(backend) for backend in backends},
        "dashes": drawing.PLOTLY_DASHES,
        "markers": drawing.PLOTLY_MARKERS,
        "details": details.details(results),
    }


def fairness(results: Results) -> list[str]:
    """Say what every row was given alike, and what was not."""
    rows = results.rows
    if not len(rows):
        return []
    said = []
    if (rows["protocol"] == "matched").any():
        said.append("matched: initial weights, batches and their order, the optimizer's arithmetic, learning rates and early "
                    "stopping are dictated by the harness and the same in every framework.")  # fmt: skip
    if (rows["protocol"] == "native").any():
        said.append("native: each framework as its own documentation has it; the notes name what differs.")
    threads = ", ".join(str(int(count)) for count in sorted(rows["threads"].dropna().unique()))
    said.append(f"threads of every trial: {threads}; frameworks run in processes of their own, one trial at a time"
                + (", except where marked †." if rows["contended"].eq(True).any() else "."))  # fmt: skip
    said.append("training time is between two fences that wait for the device; each epoch's augmentation is in it; imports, "
                "compilation, other preparation of data and evaluation are not.")  # fmt: skip
    said.append("the test set chose nothing: no epoch, no learning rate, no model.")
    return said


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _plotly() -> bytes:
    import importlib.resources

    return (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()


def _data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()
