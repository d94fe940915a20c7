"""Which charts a run has, and which of them comes first: the one that its study is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.report import curves, overview, searches, sweeps
from common.report.charts import Chart
from common.report.measures import ACCURACY, CONVERGENCE, COSTS
from common.summary import SPEC_FIELDS

if TYPE_CHECKING:
    from common.results import Results


def charts(results: Results) -> list[Chart]:
    """Return a run's charts, first what its study names, else accuracy against what it varies most."""
    rows = results.rows
    if not len(rows):
        return []
    found = [*sweeps.charts(rows), *overview.charts(rows), *curves.charts(results), *searches.charts(results)]
    first = results.study.get("chart")
    return sorted(found, key=lambda chart: chart.name != first)


def known(name: str) -> bool:
    """Say whether a chart of some run could be called so."""
    measures = {measure.name for measure in (ACCURACY, *COSTS, *CONVERGENCE)}
    measure, _, setting = name.partition("-by-")
    if setting:
        return measure in measures and setting in (*sweeps.DERIVED, *SPEC_FIELDS)
    return name in {*searches.NAMES, *(f"{one}-overview" for one in measures), *(f"pareto-{one}" for one in overview.FRONTS),
                    *(f"curves-{one}" for one in curves.CURVES)}  # fmt: skip
