"""Charts of all configurations: accuracy with its interval, costs, seconds to a level, and the two Pareto fronts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from common import published
from common.naming import row_names
from common.report.charts import Axis, Chart, Series, seeds
from common.report.measures import ACCURACY, CONVERGENCE, COSTS, FIT, Measure, by_backend, ends, remarks, values

MOST_ROWS = 30
"""Names that fit one under the other."""

COST = "cost"
PARETO = "accuracy against cost"
SIZE = Measure("parameters", "parameters")
FRONTS = (SIZE.name, FIT.name)


def charts(rows: pd.DataFrame) -> Iterator[Chart]:
    """Yield the charts of all configurations of a summary."""
    yield from dots(rows, ACCURACY, "accuracy")
    yield from front(rows, SIZE, _records(rows))
    yield from front(rows, FIT, _timed(rows))
    for measure in COSTS:
        yield from dots(rows, measure, COST)
    for measure in CONVERGENCE:
        yield from dots(rows, measure, "convergence")


def dots(rows: pd.DataFrame, measure: Measure, group: str) -> Iterator[Chart]:
    """Yield the chart of a figure of every configuration, one under the other, frameworks in one line."""
    found = values(rows, measure).assign(name=_without_backend(rows), backend=by_backend(rows))
    found = found[found["value"].notna()]
    if not len(found):
        return
    best = found.groupby("name", sort=False)["value"].agg("max" if measure.scored else "min")
    order = [str(name) for name in best.sort_values(ascending=not measure.scored, kind="stable").index]
    shown = order[:MOST_ROWS]
    series = []
    for backend, points in found[found["name"].isin(shown)].groupby("backend", sort=True):
        # names in order of merit, so that the first series' first name is at the top
        points = points.sort_values("name", key=lambda names: names.map(shown.index), kind="stable")
        low, high = (ends(points[name]) for name in ("low", "high"))
        x, y, n = points["value"].tolist(), points["name"].tolist(), points["n"].astype(int).tolist()
        series.append(Series(str(backend), str(backend), x, y, n, low, high))
    parts = [f"{measure.how} of {seeds([count for one in series for count in one.n])}", remarks(rows, measure)]
    parts += [f"the best {MOST_ROWS} of {len(order)}; the tables have all"] * (len(order) > MOST_ROWS)
    logarithmic = not measure.scored and bool(found["value"].max() > 30 * max(found["value"].min(), 1e-9))
    yield Chart(
        f"{measure.name}-overview", group, f"{measure.label.partition(' (')[0]} of each network",
        "; ".join(part for part in parts if part) + ".", "dots", Axis(measure.label, logarithmic),
        Axis(""), series,
    )  # fmt: skip


def _without_backend(rows: pd.DataFrame) -> list[str]:
    return [name.partition(" ")[2] for name in row_names(rows)]


def front(rows: pd.DataFrame, cost: Measure, others: Sequence[Series]) -> Iterator[Chart]:
    """Yield the chart of accuracy against a cost, with the configurations that no other beats in both."""
    accuracy, costs = values(rows, ACCURACY), values(rows, cost)
    found = accuracy.assign(cost=costs["value"], name=_without_backend(rows), backend=by_backend(rows))
    found = found[found["value"].notna() & found["cost"].notna()]
    if len(found) < 2 or found["cost"].nunique() < 2:
        return
    series = [
        Series(str(backend), str(backend), points["cost"].tolist(), points["value"].tolist(),
               points["n"].astype(int).tolist(), ends(points["low"]), ends(points["high"]), points["name"].tolist())
        for backend, points in found.groupby("backend", sort=True)
    ]  # fmt: skip
    parts = [f"{seeds(found['n'].astype(int).tolist())} a point", remarks(rows, ACCURACY), remarks(rows, cost)]
    parts += ["the line joins what nothing here beats in both (Pareto front, of the means)"]
    parts += ["figures of others are as published, most of one run"] * bool(others)
    yield Chart(
        f"pareto-{cost.name}", PARETO, f"accuracy against {cost.label.partition(' (')[0]}",
        "; ".join(part for part in parts if part) + ".", "points", Axis(cost.label, log=True), Axis(ACCURACY.label),
        [*series, *others], pareto(found["cost"].tolist(), found["value"].tolist()),
    )  # fmt: skip


def pareto(costs: Sequence[float], scores: Sequence[float]) -> list[tuple[float, float]]:
    """Return the points that no other beats: none costs as little and scores as high; by rising cost."""
    kept: list[tuple[float, float]] = []
    for cost, score in sorted(zip(costs, scores, strict=True), key=lambda point: (point[0], -point[1])):
        if not kept or score > kept[-1][1]:
            kept.append((cost, score))
    return kept


def _records(rows: pd.DataFrame) -> list[Series]:
    """Return the published records by parameters, where the data are MNIST's."""
    if set(rows["dataset"]) != {"mnist"}:
        return []
    found = published.RECORDS
    return [Series("published", "published", [float(one.parameters) for one in found], [one.accuracy for one in found],
                   [1] * len(found), names=[f"{one.source} ({one.remark})" for one in found])]  # fmt: skip


def _timed(rows: pd.DataFrame) -> list[Series]:
    """Return the published networks with their training times, on other machines, where the same ones stand here."""
    names = set(rows["architecture"])
    found = [one for one in (*published.LIGHTWEIGHT, *published.NODES, *published.DEPTHS)
             if one.train_s and one.architecture in names]  # fmt: skip
    if set(rows["dataset"]) != {"mnist"} or not found:
        return []
    return [Series("published, other machines", "published", [float(one.train_s or 0) for one in found],
                   [one.accuracy for one in found], [1] * len(found), names=[one.title for one in found])]  # fmt: skip
