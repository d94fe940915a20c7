"""From records, a row a trial, to the summary, a row a configuration: what is averaged, and what must not be mixed."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common import twins
from common.best import Against, against_best
from common.course import LEVELS
from common.over_base import over_base
from common.stats import mean_interval

SPEC_FIELDS = [
    *("backend", "engine", "architecture", "dataset", "data_sha256", "split", "train_share", "rows", "scaling"),
    *("input_size", "pca", "max_epochs", "batch_size", "optimizer", "learning_rate", "schedule", "momentum"),
    *("nesterov", "beta_1", "beta_2", "epsilon", "l2", "weight_decay", "label_smoothing", "sparsity", "augmentation"),
    *("early_stopping_patience", "validation", "protocol", "loop", "device", "precision", "threads"),
]
"""Columns that make a configuration: the specification without the seed."""

SAME_TEST = ["dataset", "data_sha256", "split", "train_share", "rows"]
"""Columns that two configurations must share for their figures to come from the same test sets."""

SCORES = [
    *("test_accuracy", "test_precision_macro", "test_recall_macro", "test_f1_macro", "test_log_loss"),
    *("val_accuracy", "train_loss", "epochs"),
]
TIMES = [
    *("import_s", "build_s", "first_step_s", "fit_s", "epoch_s", "evaluate_s", "latency_ms_p50", "latency_ms_p95"),
    *("throughput_per_s", "harness_s"),
]
CONVERGENCE = [f"{name}_to_{level}" for level in LEVELS for name in ("epochs", "fit_s")]
MEMORY = ["idle_memory_mb", "peak_memory_mb", "memory_rise_mb"]
SIZES = [
    "parameters",
    "flops_per_sample",
    "model_bytes",
    "n_train",
    "n_val",
    "n_test",
    "n_classes",
    "untrained_parameters",
]
MEASURED = [
    "status",
    "error",
    *SCORES,
    *TIMES,
    *CONVERGENCE,
    *MEMORY,
    *SIZES,
    "energy_j",
    "energy_method",
    "contended",
    "warnings",
]
ENVIRONMENT = ["cpu", "blas", "commit", "versions", "differs"]
"""What a trial ran on; ``versions`` is JSON text, library to version."""

RECORD_FIELDS = ["key", *SPEC_FIELDS, "seed", *MEASURED, *ENVIRONMENT]
STEADY = 2.0
"""How far apart the times of seeds may lie before they are compared with nothing."""
BETWEEN = " | "
"""Stands between the values of an environment that changed from seed to seed."""


@dataclass(frozen=True)
class Metric:
    """A figure by which configurations can be compared.

    Attributes
    ----------
    column : where the summary holds it.
    higher : whether higher is better.
    ratio : whether twice as much means as much anywhere on the scale (times, sizes), as it does not for a share.
    timed : whether trials running beside it change it.
    """

    column: str
    higher: bool = False
    ratio: bool = True
    timed: bool = False


METRICS: dict[str, Metric] = {
    **{f"test_{name}": Metric(f"test_{name}_mean", higher=True, ratio=False)
       for name in ("accuracy", "precision_macro", "recall_macro", "f1_macro")},
    "test_log_loss": Metric("test_log_loss_mean"),
    **{name: Metric(name, timed=True) for name in [*TIMES[:-2], *CONVERGENCE[1::2]]},
    **{name: Metric(name) for name in CONVERGENCE[::2]},
    "throughput_per_s": Metric("throughput_per_s", higher=True, timed=True),
    "energy_j": Metric("energy_j", timed=True),
    "peak_memory_mb": Metric("peak_memory_mb"),
    "memory_rise_mb": Metric("memory_rise_mb"),
    **{name: Metric(name) for name in ("parameters", "flops_per_sample", "model_bytes")},
}  # fmt: skip


def summarize(records: pd.DataFrame, base: Collection[str] = ()) -> pd.DataFrame:
    """Summarize trials by configuration (everything but the seed), in an order that no row order changes.

    Parameters
    ----------
    records : a row a trial, as :func:`common.store.load` returns; columns not there count as null.
    base : keys of the trials that the others are held against, ``base`` of ``study.json``.

    Returns
    -------
    DataFrame
        :data:`SPEC_FIELDS`; ``status``, ``n`` (seeds that ended well), ``n_failed`` and ``failures`` (in words); scores
        and ``epochs`` as ``_mean`` and ``_sd``, for ``test_accuracy`` with the 95% interval ``_low`` and ``_high``;
        times and ``energy_j`` as medians over ``n_timed`` seeds, and ``epoch_s_spread``, the slowest seed's seconds an
        epoch over the fastest's; memory and sizes; :data:`ENVIRONMENT`;
        ``against_best`` and ``against_best_p`` (see :func:`common.best.against_best`, on test accuracy); ``twin``,
        and what attention is ``worth`` over it with its interval, ``_low`` and ``_high`` (see
        :func:`common.twins.worth`); ``against_base`` and what it is ``over_base`` (see
        :func:`common.over_base.over_base`). Null where nothing was measured.

    Notes
    -----
    Trials that ran beside others (``contended``) give times and energy only where a configuration has no others, and
    then the row is contended. Estimated energy counts only where none was measured.
    """
    frame = in_order(complete(records))
    number = frame.groupby(SPEC_FIELDS, dropna=False, sort=False).ngroup()
    ok = frame[frame["status"] == "ok"]
    of = number[ok.index]
    parts = [
        frame[SPEC_FIELDS][~number.duplicated()].set_index(number[~number.duplicated()]),
        _outcomes(frame, number),
        _scores(ok, of),
        *_timings(ok, of),
        ok[MEMORY].groupby(of).median(),
        ok[SIZES].groupby(of).first(),
        _environment(ok, of),
        _against_best(ok, of),
        twins.worth(ok, of, [name for name in SPEC_FIELDS if name != "architecture"]),
        over_base(ok, of, [*SAME_TEST, "backend", "engine"], base),
        _failures(frame[frame["status"] != "ok"], number),
    ]
    summary: pd.DataFrame = pd.concat([part.reindex(range(number.nunique())) for part in parts], axis=1)
    return summary


def complete(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records with every column there, figures as floats (null as NaN) and ``contended`` as a bool."""
    extra = sorted(set(records.columns) - set(RECORD_FIELDS))
    frame = records.reindex(columns=[*RECORD_FIELDS, *extra]).reset_index(drop=True)
    figures = [*SCORES, *TIMES, *CONVERGENCE, *MEMORY, *SIZES, "energy_j"]
    frame["contended"] = frame["contended"].eq(True)
    frame[figures] = frame[figures].astype("float64")
    return frame


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort so that rows to compare stand together: data, architecture, settings, then backends side by side."""
    last = ["backend", "engine"]
    fields = [*SAME_TEST, "architecture", *(name for name in SPEC_FIELDS if name not in [*SAME_TEST, *last])]
    fields = [name for name in [*fields, *last, "seed"] if name in frame.columns]
    ranks = [_natural_ranks(frame[name]) for name in reversed(fields)]  # np.lexsort takes the first field last
    if "key" in frame.columns:
        ranks.insert(0, pd.factorize(frame["key"], sort=True)[0])
    return frame.iloc[np.lexsort(ranks)].reset_index(drop=True)


def _natural_ranks(values: pd.Series[Any]) -> np.ndarray:
    """Return each value's place among the different ones in natural order; null is -1 and comes first."""
    codes, different = pd.factorize(values)
    keys = [natural(value) for value in different]
    place = np.empty(len(keys) + 1, np.int64)
    place[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    place[-1] = -1  # where factorize's code for null points to
    return np.asarray(place[codes])


def natural(value: Any) -> tuple[Any, ...]:
    """Sort key: null first, then numbers, then text: ``ffn:8`` before ``ffn:64``, ``attention_700`` before ``_2k``."""
    if pd.isna(value):
        return (0,)
    if isinstance(value, str):
        parts = re.split(r"([0-9]+k?)", value)  # numbers stand at odd places
        return (2, [_whole(part) if at % 2 else part for at, part in enumerate(parts)])
    return (1, value)


def _whole(text: str) -> int:
    return 1000 * int(text[:-1]) if text.endswith("k") else int(text)


def at_chance(summary: pd.DataFrame) -> pd.Series[bool]:
    """Whether a network learned next to nothing: mean test accuracy below 1.5 times one in `n_classes`."""
    return (summary["test_accuracy_mean"] < 1.5 / summary["n_classes"]).fillna(False)


def scattered(seconds: pd.Series[float]) -> bool:
    """Whether equal work took one seed more than :data:`STEADY` times as long as another."""
    return bool(seconds.max() > STEADY * seconds.min())


def unsteady(summary: pd.DataFrame) -> pd.Series[bool]:
    """Whether a row's times say little: equal work took one seed more than :data:`STEADY` times as long as another."""
    return (summary["epoch_s_spread"] > STEADY).fillna(False)


def configuration(row: Mapping[Any, Any], fields: Sequence[str] = tuple(SPEC_FIELDS)) -> tuple[Hashable, ...]:
    """Return what identifies a row's configuration, as a value that can be looked up (null as None)."""
    return tuple(None if pd.isna(row[name]) else row[name] for name in fields)


def backend_label(row: Mapping[Any, Any]) -> str:
    """Return ``torch``, or with its engine ``keras/tensorflow``."""
    return str(row["backend"]) + ("" if pd.isna(row["engine"]) else f"/{row['engine']}")


def error_line(error: object) -> str:
    """Return the one line of an error that says what happened: the first, or below a traceback the exception's.

    An exception whose message goes on (Keras's do, with what matters in their second line) gives two in one.
    """
    lines = [line for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]
    if not isinstance(error, str) or not lines:
        return "no message"
    if not lines[0].startswith("Traceback"):
        return lines[0].strip()
    last = max(index for index, line in enumerate(lines) if line.startswith("Traceback"))
    said = [*itertools.dropwhile(lambda line: line[0].isspace(), lines[last + 1 :])][:2]
    return " ".join(line.strip() for line in said) or lines[-1].strip()


def _outcomes(frame: pd.DataFrame, of: pd.Series[int]) -> pd.DataFrame:
    counts = pd.crosstab(of, frame["status"])
    ok, unsupported = (counts.get(name, pd.Series(0, counts.index)) for name in ("ok", "unsupported"))
    total = counts.sum(axis=1)
    reasons = frame["error"].groupby(of).first()
    rows = {}
    for group in counts.index:
        if ok[group] == total[group]:
            status = "ok"
        elif unsupported[group] == total[group]:
            status = f"unsupported: {error_line(reasons[group])}"
        else:
            bad = counts.loc[group].drop("ok", errors="ignore")
            status = ", ".join(f"{count} of {total[group]} {name}" for name, count in bad.items() if count)
        rows[group] = (status, int(ok[group]), int(total[group] - ok[group] - unsupported[group]))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["status", "n", "n_failed"])


def _scores(ok: pd.DataFrame, of: pd.Series[int]) -> pd.DataFrame:
    grouped = ok[SCORES].groupby(of)
    table = grouped.mean().add_suffix("_mean").join(grouped.std(ddof=1).add_suffix("_sd"))
    found = {group: mean_interval(values, bounds=(0, 1)) for group, values in ok["test_accuracy"].groupby(of)}
    intervals = {group: (it.mean, it.sd, it.low, it.high) for group, it in found.items()}
    names = ["test_accuracy_mean", "test_accuracy_sd", "test_accuracy_low", "test_accuracy_high"]
    accuracy = pd.DataFrame.from_dict(intervals, orient="index", columns=names, dtype="float64")
    return accuracy.join(table.drop(columns=names[:2]))


def _timings(ok: pd.DataFrame, of: pd.Series[int]) -> list[Any]:
    alone = ~ok["contended"]
    timed = ok[alone | ~alone.groupby(of).transform("any")]
    grouped = timed.groupby(of[timed.index])
    metered = timed[timed["energy_j"].notna()]
    measured = metered["energy_method"].astype("object").fillna("").astype(str).str.startswith("measured")
    metered = metered[measured | ~measured.groupby(of[metered.index]).transform("any")]
    energy = metered.groupby(of[metered.index])
    methods = (
        _distinct(metered["energy_method"], of).map(lambda texts: "; ".join(sorted(texts))).rename("energy_method")
    )
    return [
        grouped["contended"].first().astype("object"),
        grouped.size().rename("n_timed"),
        grouped[TIMES].median(),
        (grouped["epoch_s"].max() / grouped["epoch_s"].min()).rename("epoch_s_spread"),
        # of seeds some of which never got there, the others' median would flatter
        grouped[CONVERGENCE].median().where(grouped[CONVERGENCE].count().eq(grouped.size(), axis=0)),
        energy["energy_j"].median(),
        methods.astype("object"),
    ]


def _environment(ok: pd.DataFrame, of: pd.Series[int]) -> pd.DataFrame:
    """Return each configuration's environment; what differs from seed to seed stands side by side."""

    def together(texts: Sequence[Any]) -> str | None:
        return BETWEEN.join(sorted(set(map(str, texts)))) or None

    def versions(texts: Sequence[str]) -> str | None:
        found: dict[str, set[str]] = {}
        for text in texts:
            for package, version in json.loads(text).items():
                found.setdefault(package, set()).add(str(version))
        return json.dumps({name: BETWEEN.join(sorted(found[name])) for name in sorted(found)}) if found else None

    def listed(lists: Sequence[tuple[str, ...]]) -> str | None:
        return "; ".join(dict.fromkeys(item for items in lists for item in items)) or None

    ways: dict[str, Callable[[Sequence[Any]], str | None]] = {"versions": versions, "differs": listed}
    columns = {}
    for name in ENVIRONMENT:
        values = ok[name].map(lambda value: tuple(value) if isinstance(value, list) else value)
        columns[name] = _distinct(values, of).map(ways.get(name, together))
    return pd.DataFrame(columns, index=of.unique(), columns=ENVIRONMENT, dtype="object")


def _distinct(values: pd.Series[Any], of: pd.Series[int]) -> pd.Series[Any]:
    """Return the different values that each configuration has, as lists; null is none."""
    there = values.dropna()
    distinct = pd.DataFrame({"of": of[there.index], "value": there}).drop_duplicates()
    found: dict[int, list[Any]] = {}
    for group, value in zip(distinct["of"].tolist(), distinct["value"].tolist(), strict=True):
        found.setdefault(group, []).append(value)
    return pd.Series(found, dtype="object")


def _against_best(ok: pd.DataFrame, of: pd.Series[int]) -> pd.DataFrame:
    """Test each configuration against the best of those with the same test sets; one at chance takes no part."""
    chance = ok["test_accuracy"].groupby(of).transform("mean") < 1.5 / ok["n_classes"]
    groups = [
        trials.pivot(index="seed", columns="of", values="test_accuracy").round(12)  # rounding off what sums add
        for _, trials in ok.assign(of=of)[~chance].groupby(SAME_TEST, dropna=False, sort=False)
    ]
    rows: dict[Any, Against] = {}
    for group, found in zip(groups, against_best([group.to_numpy("float64") for group in groups]), strict=True):
        rows |= dict(zip(group.columns, found, strict=True))
    table = {group: (found.verdict, found.p) for group, found in rows.items()}
    return pd.DataFrame.from_dict(table, orient="index", columns=["against_best", "against_best_p"])


def _failures(bad: pd.DataFrame, of: pd.Series[int]) -> pd.Series[Any]:
    """Say what went wrong in each configuration where something did, seeds with the same reason together."""
    seeds: dict[int, dict[tuple[str, str], list[str]]] = {}
    for group, status, error, seed in zip(of[bad.index], bad["status"], bad["error"], bad["seed"], strict=True):
        seeds.setdefault(group, {}).setdefault((status, error_line(error)), []).append(str(seed))
    texts = {
        group: "; ".join(_failure(*reason, which) for reason, which in found.items()) for group, found in seeds.items()
    }
    return pd.Series(texts, name="failures", dtype="object")


def _failure(status: str, reason: str, seeds: Sequence[str]) -> str:
    of_seeds = "" if status == "unsupported" else f" (seed{'s' * (len(seeds) > 1)} {', '.join(seeds)})"
    return f"{status}{of_seeds}: {reason}"
