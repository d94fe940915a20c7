"""Learning curves: validation accuracy and training loss epoch by epoch, means over seeds with their range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from common.naming import row_names
from common.report.charts import Axis, Chart, Series, seeds
from common.report.measures import by_backend
from common.summary import configuration

if TYPE_CHECKING:
    from common.results import Results

MOST_CURVES = 8
CURVES = {"val_accuracy": ("validation accuracy (%)", 100.0), "train_loss": ("training loss (nats)", 1.0)}


def charts(results: Results) -> Iterator[Chart]:
    """Yield a chart of validation accuracy and one of training loss, where a trial left its history."""
    rows = results.rows
    chosen = rows.sort_values("val_accuracy_mean", ascending=False, kind="stable").index[:MOST_CURVES]
    backends, names = by_backend(rows), row_names(rows)
    records = {at: results.by_configuration[configuration(rows.loc[at].to_dict())] for at in sorted(chosen)}
    found = {at: [results.history(one["key"]) for one in several] for at, several in records.items()}
    for figure, (label, factor) in CURVES.items():
        series: list[Series] = []
        styles: dict[str, int] = {}
        for at, histories in found.items():
            curves = [_curve(history.get(figure, [])) * factor for history in histories]
            curves = [curve for curve in curves if len(curve) and np.isfinite(curve).all()]
            if not curves:
                continue
            epochs = min(map(len, curves))  # early stopping ends some seeds before others
            table = np.array([curve[:epochs] for curve in curves])
            several = len(curves) > 1
            rest = names[at].partition(" ")[2]
            series.append(Series(
                names[at], backends[at], [*range(1, epochs + 1)], table.mean(axis=0).tolist(), [len(curves)] * epochs,
                table.min(axis=0).tolist() if several else None, table.max(axis=0).tolist() if several else None,
                style=styles.setdefault(rest, len(styles)),
            ))  # fmt: skip
        if any(len(one.x) > 1 for one in series):
            more = f"; the best {len(chosen)} of {len(rows)} by validation accuracy" * (len(rows) > len(chosen))
            yield Chart(
                f"curves-{figure}", "learning curves", f"{label.partition(' (')[0]} by epoch",
                f"mean of {seeds([count for one in series for count in one.n])}, the band from the lowest to the highest{more}.",
                "line", Axis("epoch"), Axis(label), series,
            )  # fmt: skip


def _curve(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
