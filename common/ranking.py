"""One score for a configuration under the reader's weights, and the setting that validation accuracy speaks for."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from common.stats import CLAIM_SEEDS, evidence_interval, mean_interval
from common.summary import (
    METRICS,
    SAME_TEST,
    SPEC_FIELDS,
    STEADY,
    at_chance,
    backend_label,
    complete,
    configuration,
    natural,
    unsteady,
)
from config import UserError, nearest

DEFAULT_WEIGHTS = {
    "test_accuracy": 0.4,
    "fit_s": 0.2,
    "latency_ms_p50": 0.1,
    "peak_memory_mb": 0.1,
    "parameters": 0.1,
    "energy_j": 0.1,
}


def parse_weights(text: str) -> dict[str, float]:
    """Read weights as the command line gives them, ``test_accuracy=0.4,fit_s=0.2``.

    Raises
    ------
    UserError
        One line for each mistake.
    """
    weights: dict[str, float] = {}
    problems = []
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in METRICS:
            problems.append(f"rank: {name!r} is not a figure{nearest(name, METRICS)} Known: {', '.join(METRICS)}")
            continue
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            problems.append(f"rank: {name}{equals}{number}: write a weight of 0 or more, such as {name}=0.2")
        elif name in weights:
            problems.append(f"rank: {name} is given twice")
        weights[name] = weight
    if not problems and not sum(weights.values()):
        problems.append("rank: all weights are 0; give at least one figure a weight above 0")
    if problems:
        raise UserError("\n".join(problems))
    return weights


def rank(summary: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """Rank configurations by a weighted mean of scaled figures, among those with the same test sets.

    Within each data set and split every figure is scaled to [0, 1], worst to best: shares as they are, times, sizes
    and log loss by their logarithm, so that 1 to 2 s weighs as much as 10 to 20 s. The score is the mean of the scaled
    figures under the weights. A figure that no row has, and energy where some is measured and some is estimated,
    drops out and the other weights are scaled up.

    The weakness of min-max scaling: a score says where a row stands between the worst and the best *of this table*.
    Adding a poor row can change the order of the others, and a figure in which all rows nearly agree, even by less
    than the spread over seeds, counts as fully as one in which they differ tenfold. Read the score with the table.

    Parameters
    ----------
    summary : as :func:`common.summary.summarize` returns.
    weights : weight of each figure, by its name in :data:`common.summary.METRICS`.

    Returns
    -------
    DataFrame
        ``rank`` (1 is best, equal scores share one), ``score``, ``reason`` (why a row is not ranked), ``note`` (the
        weights used, and what dropped out), the specification, and each scaled figure as ``score_<name>``; by group,
        best first, unranked rows last. Configurations without a trial that ended well are left out.
    """
    weights = {name: weight for name, weight in weights.items() if weight}
    scores = [f"score_{name}" for name in weights]
    rows = summary[summary["n"] > 0]
    parts = [_rank_group(group, weights) for _, group in rows.groupby(SAME_TEST, dropna=False, sort=False)]
    columns = ["rank", "score", "reason", "note", *SPEC_FIELDS, *scores]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _rank_group(group: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """Rank the configurations of one data set and split."""
    used = dict(weights)
    notes = []
    kinds = group.loc[group["energy_j"].notna(), "energy_method"].str.startswith("measured")
    if "energy_j" in used and kinds.nunique() > 1:
        del used["energy_j"]
        notes.append("energy left out: measured for some rows, estimated for others")
    for name in [name for name in used if group[METRICS[name].column].isna().all()]:
        del used[name]
        notes.append(f"{name} left out: not measured")
    notes.insert(0, "weights " + ", ".join(f"{name} {weight:g}" for name, weight in used.items()))
    chance = group.assign(chance=at_chance(group), unsteady=unsteady(group))
    reasons = pd.Series(
        ["; ".join(_unranked(row, used)) for row in chance.to_dict("records")], group.index, dtype="object"
    )
    table = group.assign(
        reason=reasons.where(reasons != "", None),
        note="; ".join(notes),
        **{f"score_{name}": np.nan for name in weights},
    )
    ranked = table["reason"].isna() & bool(used)
    for name in used:
        metric = METRICS[name]
        table.loc[ranked, f"score_{name}"] = _scaled(group.loc[ranked, metric.column], metric.higher, metric.ratio)
    shares = pd.Series({f"score_{name}": weight for name, weight in used.items()}, dtype="float64")
    table["score"] = (table[list(shares.index)] * (shares / shares.sum())).sum(axis=1).where(ranked)
    # rounding keeps two equal rows equal, whatever the order of their sums
    table["rank"] = table["score"].round(12).rank(method="min", ascending=False)
    return table.sort_values("rank", kind="stable", na_position="last")


def _unranked(row: Mapping[Any, Any], used: Mapping[str, float]) -> list[str]:
    """Return why a row cannot be compared under these weights."""
    reasons = ["stayed at chance"] if row["chance"] else []
    if any(METRICS[name].timed for name in used):
        if row["contended"]:
            reasons.append("timed while other trials ran")
        elif row["unsteady"]:
            reasons.append(f"the same work took one seed more than {STEADY:g} times as long as another")
    missing = [name for name in used if not np.isfinite(row[METRICS[name].column])]
    if missing:
        reasons.append(f"no figure for {', '.join(missing)}")
    return reasons


def _scaled(values: pd.Series[float], higher: bool, ratio: bool) -> pd.Series[float]:
    """Scale to [0, 1], best 1; where all are equal none is worse than the best, and all are 1."""
    x = pd.Series(np.log(values) if ratio and (values > 0).all() else values, dtype="float64")
    span = x.max() - x.min()
    if not span > 0:
        return pd.Series(1.0, index=values.index)
    return (x - x.min()) / span if higher else (x.max() - x) / span


def recommend(summary: pd.DataFrame, records: pd.DataFrame, over: str) -> str:
    """Say in words which setting has the best validation accuracy, and which others cannot be told apart from it.

    Settings are compared by the differences of trials with the same seed; one whose 95% interval holds zero is not
    told apart. The test set is never looked at. The best of many settings is partly the luckiest: its own mean is
    slightly too high, the more so the more settings there are and the fewer seeds.

    Parameters
    ----------
    summary, records : of the same trials.
    over : columns of the specification that the study varies, separated by commas.

    Returns
    -------
    str
        A sentence or two for each backend, architecture and whatever else varies, a line each.

    Raises
    ------
    UserError
        Where `over` names a column that is not in the specification.
    """
    columns = _varied(over)
    by_seed: dict[tuple[Hashable, ...], pd.Series[float]] = {}
    for _, trials in complete(records).query("status == 'ok'").groupby(SPEC_FIELDS, dropna=False, sort=False):
        by_seed[configuration(trials.iloc[0].to_dict())] = trials.set_index("seed")["val_accuracy"].dropna()
    # pairs in which people see one setting
    follows = {"train_share": "split", "split": "train_share", "backend": "engine"}
    fixed = [name for name in SPEC_FIELDS if name not in {*columns, *(follows.get(name) for name in columns)}]
    shown = [name for name in fixed if name not in ("backend", "engine", "architecture", "data_sha256")]
    shown = [name for name in shown if summary[name].nunique(dropna=False) > 1]
    lines = []
    for _, rows in summary.groupby(fixed, dropna=False, sort=False):
        head = rows.iloc[0].to_dict()
        named = [] if "backend" in columns else [backend_label(head)]
        named += [] if "architecture" in columns else [str(head["architecture"])]
        named += [_setting(head, name) for name in shown]
        candidates = {
            ", ".join(_setting(row, name) for name in columns): by_seed.get(configuration(row), pd.Series(dtype=float))
            for row in rows.to_dict("records")
        }
        lines.append(f"{', '.join(named) or 'all'}: {_verdict(candidates)}")
    return "\n".join(lines)


def _varied(over: str) -> list[str]:
    columns = [name.strip() for name in over.split(",")]
    wrong = [name for name in columns if name not in SPEC_FIELDS]
    if wrong:
        known = ", ".join(SPEC_FIELDS)
        lines = [f"{name!r} is not a setting{nearest(name, SPEC_FIELDS)} Known: {known}" for name in wrong]
        raise UserError("\n".join(lines))
    return columns


def _setting(row: Mapping[Any, Any], name: str) -> str:
    value = backend_label(row) if name == "backend" else row[name]
    if pd.isna(value):
        return "official split" if name == "train_share" else f"no {name}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _verdict(candidates: Mapping[str, pd.Series[float]]) -> str:
    """Compare settings by their validation accuracies, each a series by seed."""
    absent = [name for name, values in candidates.items() if values.empty]
    there = {name: values for name, values in candidates.items() if not values.empty}
    if not there:
        return "no trial ended well; nothing to recommend."
    best = max(sorted(there, key=natural), key=lambda name: there[name].mean())
    found = mean_interval(there[best], bounds=(0, 1))
    text = f"best on validation is {best}, accuracy {found.mean:.2%}"
    text += f" [{found.low:.2%}, {found.high:.2%}]" if found.low is not None else ""
    text += f" over {found.n} seed{'s' * (found.n > 1)}."
    same = [name for name in there if name != best and not _told_apart(there[best], there[name])]
    if same:
        text += f" Not to be told apart from it: {'; '.join(same)}."
    elif len(there) > 1:
        text += " All others are worse by more than seeds explain."
    else:
        text += " It is the only setting, so there is nothing to choose."
    if found.n < CLAIM_SEEDS and len(there) > 1:
        text += f" Fewer than {CLAIM_SEEDS} seeds support no claim."
    return text + (f" Without a result: {'; '.join(absent)}." if absent else "")


def _told_apart(better: pd.Series[float], other: pd.Series[float]) -> bool:
    """Whether the paired differences by seed leave out zero."""
    low = evidence_interval(better - other).low
    return low is not None and low > 0
