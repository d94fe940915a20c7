"""The figures that charts show of a summary's rows: scores with their intervals, times, memory, energy, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from common.course import LEVELS
from common.summary import METRICS, STEADY, backend_label, unsteady


@dataclass(frozen=True)
class Measure:
    """A figure of the summary as a chart shows it.

    Attributes
    ----------
    column : where the summary holds it.
    label : of the axis, with the unit.
    factor : from the summary's unit to the label's.
    how : how it comes out of several seeds.
    """

    column: str
    label: str
    factor: float = 1.0
    how: str = "median"

    @property
    def name(self) -> str:
        """Its part of a chart's name."""
        return {"test_accuracy_mean": "accuracy"}.get(self.column, self.column)

    @property
    def scored(self) -> bool:
        """Whether the summary has an interval of it."""
        return self.column == "test_accuracy_mean"

    @property
    def timed(self) -> bool:
        """Whether trials running beside it change it."""
        return any(one.timed for one in METRICS.values() if one.column == self.column)


ACCURACY = Measure("test_accuracy_mean", "test accuracy (%)", 100.0, "mean")
FIT = Measure("fit_s", "training time (s)")
COSTS = (
    FIT,
    Measure("latency_ms_p50", "latency of one sample (ms)"),
    Measure("peak_memory_mb", "peak memory of the process (MB)", how="first seed"),
    Measure("energy_j", "energy of training (J)"),
)
CONVERGENCE = tuple(
    Measure(column, label)
    for level in LEVELS
    for column, label in (
        (f"fit_s_to_{level}", f"training time until {level}% of the validation images are right (s)"),
        (f"epochs_to_{level}", f"epochs until {level}% of the validation images are right"),
    )
)


def values(rows: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return a measure's ``value``, ``low``, ``high`` and ``n`` of each row, in the label's unit.

    Times of trials that ran beside others stand beside exclusive ones nowhere: where rows have both, the former are
    null. So are unsteady ones (see :func:`common.summary.unsteady`). So with estimated energy where other rows have measured.
    """
    value = rows[measure.column] * measure.factor
    if measure.timed:
        busy = rows["contended"].eq(True)
        if not busy.all():
            value = value.mask(busy)
        value = value.mask(unsteady(rows))
    if measure.column == "energy_j":
        measured = rows["energy_method"].astype("string").str.startswith("measured").fillna(False)
        if measured.any():
            value = value.where(measured)
    found = pd.DataFrame({"value": value, "low": float("nan"), "high": float("nan"), "n": rows["n"]})
    if measure.scored:
        found["low"], found["high"] = rows["test_accuracy_low"] * 100, rows["test_accuracy_high"] * 100
    return found


def ends(values: pd.Series[Any]) -> list[float | None] | None:
    """Return one end of each point's interval, null where it has none; None where no point has one."""
    return None if values.isna().all() else [None if pd.isna(value) else float(value) for value in values]


def remarks(rows: pd.DataFrame, measure: Measure) -> str:
    """Say how a measure was taken, where that limits what it means."""
    said = []
    if measure.scored:
        said.append("bars are 95% intervals of the mean")
    there = rows[rows[measure.column].notna()]
    if measure.timed and len(there):
        busy = there["contended"].eq(True)
        if busy.all():
            said.append("taken while other trials ran")
        elif busy.any():
            said.append("rows timed while other trials ran are left out")
        if unsteady(there).any():
            said.append(
                f"rows whose seeds took more than {STEADY:g} times as long as one another for the same are left out"
            )
    if measure.column == "energy_j":
        said += sorted({str(method) for method in there["energy_method"].dropna()})
    return "; ".join(said)


def by_backend(rows: pd.DataFrame) -> pd.Series[str]:
    """Return each row's backend with its engine."""
    return pd.Series([backend_label(row) for row in rows[["backend", "engine"]].to_dict("records")], index=rows.index)
