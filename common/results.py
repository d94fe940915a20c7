"""A run's results in memory: its records, its summary, and what each trial left beside its record."""

from __future__ import annotations

import functools
import html
import json
import zipfile
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common.store import Run, table
from common.summary import complete, configuration, in_order, summarize
from common.tables import ended_well

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from common.report.charts import Chart


@dataclass(frozen=True)
class Results:
    """What a run measured, read once; nothing here trains or writes.

    Attributes
    ----------
    run : where it lies on disk.
    """

    run: Run

    @functools.cached_property
    def study(self) -> dict[str, Any]:
        """What ``study.json`` says: name, question, data sets, the trials' keys."""
        return self.run.study()

    @functools.cached_property
    def records(self) -> list[dict[str, Any]]:
        """The record of each finished trial as it is on disk, in the study's order."""
        return self.run.records(self.study["keys"])

    @functools.cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial, in the order of the tables; shares are 0 to 1, units are in the columns' names."""
        return in_order(complete(table(self.records)))

    @functools.cached_property
    def summary(self) -> pd.DataFrame:
        """A row a configuration, as :func:`common.summary.summarize` returns it."""
        return summarize(table(self.records), self.run.base())

    @functools.cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of the summary of which at least one seed ended well, numbered from 0."""
        return ended_well(self.summary)

    @functools.cached_property
    def by_configuration(self) -> dict[tuple[Hashable, ...], list[dict[str, Any]]]:
        """The records of each configuration, see :func:`common.summary.configuration`."""
        found: dict[tuple[Hashable, ...], list[dict[str, Any]]] = {}
        for record in self.records:
            found.setdefault(configuration(record), []).append(record)
        return found

    def history(self, key: str) -> dict[str, list[float | None]]:
        """Return a trial's figures epoch by epoch, empty where it left none."""
        try:
            found = json.loads((self.run.artefacts(key) / "history.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def predictions(self, key: str) -> dict[str, np.ndarray] | None:
        """Return a trial's test rows: ``index`` into the pooled data set, ``label``, ``predicted``; None without them."""
        try:
            with np.load(self.run.artefacts(key) / "predictions.npz", allow_pickle=False) as archive:
                return {name: archive[name] for name in ("index", "label", "predicted")}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def model(self, key: str) -> Path | None:
        """Return the file of a trial's model, None where it left none."""
        return next(iter(sorted(self.run.artefacts(key).glob("model.*"))), None)

    @functools.cached_property
    def charts(self) -> dict[str, Chart]:
        """The run's charts by name, the one that answers the study's question first."""
        from common.report.gallery import charts

        return {chart.name: chart for chart in charts(self)}

    def plot(self, name: str | None = None) -> Figure:
        """Return a chart as a matplotlib figure, the first one where no name is given.

        Raises
        ------
        UserError
            Where the run has no chart of that name; the message lists those it has.
        """
        from common.report.drawing import draw
        from config import UserError, nearest

        name = next(iter(self.charts), "") if name is None else name
        if name not in self.charts:
            raise UserError(
                f"plot: {name!r} is no chart of this run{nearest(name, self.charts)} It has: {', '.join(self.charts)}"
            )
        return draw(self.charts[name])

    def __repr__(self) -> str:
        from common.tables import render

        return render(self.summary, "text", note=self.study["note"])

    def _repr_html_(self) -> str:
        from common.report.answer import paragraph
        from common.report.leaderboard import html_table

        note = f"<p>{html.escape(self.study['note'])}</p>" if self.study["note"] else ""
        head = f"<p><b>{html.escape(self.study['question'])}</b></p><p>{html.escape(paragraph(self))}</p>"
        return note + head + html_table(self.rows)
