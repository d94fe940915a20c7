"""Two backends or two architectures side by side: every figure, the difference, its interval, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from common.naming import setting_text, split_text, varying_fields
from common.stats import (
    Estimate,
    evidence_interval,
    holm,
    mcnemar_over_seeds,
    median_interval,
    paired_t,
    superiority,
    wilcoxon,
)
from common.summary import METRICS, SPEC_FIELDS, STEADY, backend_label, complete, configuration, in_order, scattered
from config import UserError, nearest


@dataclass(frozen=True)
class Quantity:
    """A figure of the report.

    Attributes
    ----------
    header, column : its name, and where records hold it.
    kind : how two of them are compared: by their difference (``points`` of a percentage), by their ratio, or as exact
        counts that no seed changes; ``answers`` are the test examples that one side alone has right.
    worth : the difference for which the seeds needed are given: a share, a difference, or a ratio less 1.
    """

    header: str
    column: str
    kind: Literal["points", "difference", "ratio", "count", "answers"]
    worth: float = 0.05

    @property
    def higher(self) -> bool:
        """Whether higher is better."""
        return self.kind == "answers" or METRICS[self.column].higher


QUANTITIES = [
    Quantity("accuracy %", "test_accuracy", "points", 0.001),
    Quantity("F1 %", "test_f1_macro", "points", 0.001),
    Quantity("log loss", "test_log_loss", "difference", 0.001),
    Quantity("fit s", "fit_s", "ratio"),
    Quantity("epoch s", "epoch_s", "ratio"),
    Quantity("latency ms", "latency_ms_p50", "ratio"),
    Quantity("samples/s", "throughput_per_s", "ratio"),
    Quantity("peak MB", "peak_memory_mb", "ratio"),
    Quantity("energy J", "energy_j", "ratio"),
    Quantity("parameters", "parameters", "count"),
    Quantity("model bytes", "model_bytes", "count"),
]
ANSWERS = Quantity("alone right", "predictions.npz", "answers")


NONE = Estimate(0)


@dataclass(frozen=True)
class Line:
    """One figure of two sides in one configuration.

    Attributes
    ----------
    where : the configuration; None over all of them.
    first, second : means, medians where ratios are compared, or counts.
    effect : mean of first - second, or median of first / second, with its interval.
    sd : standard deviation of the differences, or of the logarithms of the ratios.
    p, adjusted_p : of the test, and after Holm over the whole report; None where there is no test.
    beats : probability that the first is better in a pair.
    favors_first : whether the first is better in what the test is of: the mean, or of ``answers`` most seeds.
    reason : why there is no comparison.
    """

    where: str | None
    quantity: Quantity
    first: float | None = None
    second: float | None = None
    effect: Estimate = NONE
    sd: float | None = None
    p: float | None = None
    adjusted_p: float | None = None
    wilcoxon_p: float | None = None
    wilcoxon_least_p: float | None = None
    beats: Estimate = NONE
    favors_first: bool | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Side:
    """A backend (with its engine) or an architecture, as records name it."""

    field: Literal["backend", "architecture"]
    name: str

    def of(self, records: pd.DataFrame) -> pd.DataFrame:
        """Return the records of this side."""
        return records[_sides(records, self.field) == self.name]


def _sides(records: pd.DataFrame, field: str) -> pd.Series[Any]:
    if field == "architecture":
        return records["architecture"].astype("object")
    return pd.Series([backend_label(row) for row in records.to_dict("records")], records.index, dtype="object")


def _spelled_out(name: str, there: Sequence[str]) -> str:
    """Return ``keras/jax`` for ``keras`` where that is the only engine there."""
    engines = [backend for backend in there if backend.startswith(f"{name}/")]
    return engines[0] if len(engines) == 1 else name


def parse_sides(text: str, records: pd.DataFrame) -> tuple[Side, Side]:
    """Read two sides, ``sklearn:torch`` or ``ffn:64:ffn:128-64``: cut at the colon with a name of the run on each side.

    Raises
    ------
    UserError
        Where no colon or more than one does that, with the names there are.
    """
    records = complete(records)
    known = {field: list(dict.fromkeys(_sides(records, field))) for field in ("backend", "architecture")}
    cuts = [(text[:at], text[at + 1 :]) for at, sign in enumerate(text) if sign == ":"]
    found = []
    for first, second in cuts:
        for field, there in known.items():
            a, b = _spelled_out(first, there), _spelled_out(second, there)
            if a in there and b in there and a != b:
                found.append((Side(field, a), Side(field, b)))  # type: ignore[arg-type]
    if len(found) == 1:
        return found[0]
    listed = "; ".join(f"{field}s: {', '.join(there) or 'none'}" for field, there in known.items())
    if len(found) > 1:
        readings = " or ".join(f"{a.name!r} and {b.name!r}" for a, b in found)
        raise UserError(f"compare: {text!r} can be read as {readings}")
    pairs = [f"{a}:{b}" for there in known.values() for a in there for b in there if a != b]
    raise UserError(
        f"compare: {text!r} is not two backends or two architectures of this run{nearest(text, pairs)} "
        f"Write two of one kind with a colon between them, such as sklearn:torch. In this run: {listed}"
    )


def compare(records: pd.DataFrame, first: Side, second: Side, artefacts: Callable[[str], Path]) -> list[Line]:
    """Compare two sides in every configuration that both have, and over all of them together.

    Trials are paired by seed, within the same data, split and all settings but the one compared. Over several
    configurations a seed's differences (logarithms of ratios) are averaged first, so that a seed, whose data all its
    configurations share, counts once.

    Parameters
    ----------
    records : a row a trial.
    first, second : from :func:`parse_sides`.
    artefacts : a trial's key to the directory of its ``predictions.npz``.

    Returns
    -------
    list of Line
        By configuration, in the table's order, then over all of them; p-values adjusted (Holm) over all lines.

    Raises
    ------
    UserError
        Where no configuration ran well on both sides with a seed in common.
    """
    pairs = _pairs(records, first, second)
    groups = [trials for _, trials in pairs.groupby("of", sort=False)]
    names = _where([trials.iloc[0] for trials in groups], first.field)
    lines: list[Line] = []
    changes: dict[str, list[pd.Series[float]]] = {}
    for name, trials in zip(names, groups, strict=True):
        for quantity in QUANTITIES:
            line, change = _line(name, quantity, trials)
            if line is not None:
                lines.append(line)
                changes.setdefault(quantity.column, []).append(change)
        lines += _answers(name, trials, artefacts)
    if len(groups) > 1:
        lines += _pooled(lines, changes, len(groups))
    adjusted = holm([math.nan if line.p is None else line.p for line in lines]).tolist()
    return [replace(line, adjusted_p=None if math.isnan(p) else p) for line, p in zip(lines, adjusted, strict=True)]


def _pairs(records: pd.DataFrame, first: Side, second: Side) -> pd.DataFrame:
    """Return a row a pair of trials, columns of the second with ``_2`` behind them; ``of`` numbers configurations."""
    ok = in_order(complete(records).query("status == 'ok'"))
    apart = ("backend", "engine") if first.field == "backend" else ("architecture",)
    fields = [name for name in SPEC_FIELDS if name not in apart]
    ok["of"] = pd.Series([configuration(row, fields) for row in ok.to_dict("records")], ok.index, dtype="object")
    a, b = first.of(ok), second.of(ok)
    pairs = a.merge(b, on=["of", "seed"], suffixes=("", "_2"))
    if len(pairs):
        return pairs
    never = [name for name in fields if not set(a[name].dropna()) & set(b[name].dropna())]
    never = [name for name in never if a[name].notna().any() or b[name].notna().any()]
    why = f"; they differ in {', '.join(never)}" if never and len(a) and len(b) else ""
    raise UserError(f"compare: {first.name} and {second.name} have no trial that ended well with the same seed, data, "
                    f"split and settings{why}")  # fmt: skip


def _where(heads: list[pd.Series[Any]], field: str) -> list[str]:
    """Name configurations by what is not compared: architecture or backend, split, and settings that vary."""
    rows = pd.DataFrame(heads)
    names = []
    for row in rows.to_dict("records"):
        parts = [str(row["architecture"]) if field == "backend" else backend_label(row), split_text(row)]
        parts += [f"{name} {setting_text(name, row[name])}" for name in varying_fields(rows)]
        names.append(", ".join(parts))
    return names


def _line(where: str, quantity: Quantity, trials: pd.DataFrame) -> tuple[Line | None, pd.Series[float]]:
    """Compare one figure in one configuration; no line where neither side has it. Also the changes, by seed."""
    column = quantity.column
    by_seed = trials.set_index("seed")
    reason = _not_comparable(quantity, trials)
    if METRICS[column].timed and reason is None:
        by_seed = by_seed[~(by_seed["contended"] | by_seed["contended_2"])]
    a, b = by_seed[column].astype("float64"), by_seed[f"{column}_2"].astype("float64")
    none: pd.Series[float] = pd.Series(dtype="float64")
    if a.isna().all() and b.isna().all():
        return None, none
    middle = "mean" if quantity.kind in ("points", "difference") else "median"
    first, second = (None if math.isnan(value) else float(value) for value in (a.agg(middle), b.agg(middle)))
    line = Line(where, quantity, first, second)
    both = (a > 0) & (b > 0) if quantity.kind == "ratio" else a.notna() & b.notna()
    if reason is None and not both.any():
        reason = "not measured in the same trials of both"
    if reason is not None:
        return replace(line, reason=reason), none
    a, b = a[both], b[both]
    if quantity.kind == "count":
        return replace(line, effect=Estimate(1, float(a.iloc[0] / b.iloc[0]))), none
    change = (a / b).map(math.log) if quantity.kind == "ratio" else (a - b).round(12)  # rounding off what sums add
    return _tested(line, change), change


def _not_comparable(quantity: Quantity, trials: pd.DataFrame) -> str | None:
    if METRICS[quantity.column].timed:
        alone = trials[~(trials["contended"] | trials["contended_2"])]
        if not len(alone):
            return "timed while other trials ran"
        if scattered(alone["epoch_s"]) or scattered(alone["epoch_s_2"]):
            return f"the same work took one seed more than {STEADY:g} times as long as another"
    if quantity.column == "energy_j":
        methods = {*trials["energy_method"].dropna(), *trials["energy_method_2"].dropna()}
        if len(methods) > 1:
            return f"found in different ways ({'; '.join(sorted(methods))})"
    return None


def _tested(line: Line, change: pd.Series[float]) -> Line:
    """Fill in what the differences, or logarithms of ratios, of the pairs say."""
    x = change.to_numpy("float64")
    better = x if line.quantity.higher else -x
    signed = wilcoxon(x)
    if line.quantity.kind == "ratio":
        found = median_interval(np.exp(x))
    else:
        mean = evidence_interval(x)
        found = Estimate(mean.n, mean.mean, mean.low, mean.high, None if mean.low is None else 0.95)
    return replace(
        line,
        effect=found,
        sd=float(x.std(ddof=1)) if x.size > 1 else None,
        p=paired_t(x),
        wilcoxon_p=signed.p,
        wilcoxon_least_p=signed.least_p,
        beats=superiority(better),
        favors_first=bool(better.mean() > 0),
    )


def _answers(where: str, trials: pd.DataFrame, artefacts: Callable[[str], Path]) -> list[Line]:
    """Compare the predictions on the shared test examples, seed by seed (McNemar); none where they were not kept."""
    counts = []
    for first, second in zip(trials["key"], trials["key_2"], strict=True):
        files = [artefacts(key) / "predictions.npz" for key in (first, second)]
        if all(file.is_file() for file in files):
            a, b = (_right(file) for file in files)
            rows = a.index.intersection(b.index)
            counts.append((int((a[rows] & ~b[rows]).sum()), int((b[rows] & ~a[rows]).sum())))
    if not counts:
        return []
    favors_first, p = mcnemar_over_seeds(counts)
    first, second = (float(sum(count)) for count in zip(*counts, strict=True))
    return [Line(where, ANSWERS, first, second, effect=Estimate(len(counts), first - second), p=p,
                 favors_first=favors_first)]  # fmt: skip


def _right(file: Path) -> pd.Series[bool]:
    with np.load(file) as saved:
        return pd.Series(saved["predicted"] == saved["label"], index=saved["index"])


def _pooled(lines: list[Line], changes: dict[str, list[pd.Series[float]]], configurations: int) -> list[Line]:
    """Average each seed's changes over the configurations, where every configuration has them."""
    pooled = []
    for quantity in QUANTITIES:
        found = [change for change in changes.get(quantity.column, []) if len(change)]
        mean = pd.concat(found, axis=1, join="inner").mean(axis=1) if len(found) == configurations else None
        if mean is not None and len(mean):
            line = Line(None, quantity)
            if quantity.kind != "ratio":  # a mean of seconds would be that of the largest network
                both = [(line.first, line.second) for line in lines if line.quantity == quantity]
                first, second = np.array(both, dtype="float64").mean(axis=0)
                line = replace(line, first=float(first), second=float(second))
            pooled.append(_tested(line, mean))
    return pooled
