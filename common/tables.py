"""The summary as a reader sees it: text, Markdown, LaTeX and CSV, with what may be concluded from it said below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from common.layout import DASH, Cell, Column, HumanFormat, lay_out
from common.ranking import DEFAULT_WEIGHTS, rank
from common.stats import BOOTSTRAP_SEEDS, CLAIM_SEEDS, least_difference
from common.store import write_atomically
from common.summary import (
    METRICS,
    SAME_TEST,
    SPEC_FIELDS,
    at_chance,
    backend_label,
    complete,
    error_line,
    in_order,
    summarize,
)
from config import Training

FLOAT_FORMAT = "%.15g"  # the most digits that come back as they were written
LABELS = {"batch_size": "batch", "learning_rate": "lr", "early_stopping_patience": "patience"}
JOINED = ["backend", "engine", "architecture", "data_sha256", "split", "train_share"]
"""Fields that are not columns of their own: shown together, or (the hash) not at all."""

USUAL = Training().model_dump(include={"beta_1", "beta_2", "epsilon", "schedule", "validation"})
"""Settings that are only worth a word where they are not the default."""


@dataclass(frozen=True)
class Figure:
    """How one figure of the summary is shown."""

    header: str
    column: str
    show: Callable[[float], str]
    keep: int
    metric: str | None = None


def percent(value: float) -> str:
    """Return a share as a percentage with two decimals."""
    return f"{100 * value:.2f}"


def number(value: float) -> str:
    """Return three significant digits, and all digits before the decimal point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:#.3g}"


FIGURES = [
    Figure("accuracy %", "test_accuracy_mean", percent, 100, "test_accuracy"),
    Figure("95% interval", "test_accuracy_low", percent, 90),
    Figure("F1 %", "test_f1_macro_mean", percent, 20, "test_f1_macro"),
    Figure("log loss", "test_log_loss_mean", "{:.4f}".format, 50, "test_log_loss"),
    Figure("epochs", "epochs_mean", "{:.1f}".format, 45),
    Figure("fit s", "fit_s", number, 85, "fit_s"),
    Figure("epoch s", "epoch_s", number, 55, "epoch_s"),
    Figure("latency ms", "latency_ms_p50", number, 75, "latency_ms_p50"),
    Figure("samples/s", "throughput_per_s", number, 10, "throughput_per_s"),
    Figure("peak MB", "peak_memory_mb", number, 65, "peak_memory_mb"),
    Figure("parameters", "parameters", "{:,.0f}".format, 70, "parameters"),
    Figure("model kB", "model_bytes", lambda value: number(value / 1000), 30, "model_bytes"),
    Figure("energy J", "energy_j", number, 40, "energy_j"),
]


def render(
    summary: pd.DataFrame, format: HumanFormat | Literal["csv"], *, note: str | None = None, width: int | None = None
) -> str:
    """Show a summary to a person, or as CSV to a program.

    Parameters
    ----------
    summary : as :func:`common.summary.summarize` returns.
    format : CSV holds every column and nothing but the table; the others hold what a decision needs, and notes.
    note : what the reader must know first, such as that another data set stood in.
    width : columns of the terminal; text that is wider loses its least important columns, and says which.

    Returns
    -------
    str
        Ends in a line feed.
    """
    if format == "csv":
        return _csv(summary)
    rows = summary[summary["n"] > 0].reset_index(drop=True)
    notes = [*_notes(rows), *_failure_lines(summary)]
    columns = [*_identity(rows), *_figures(rows)] if len(rows) else []
    return lay_out(columns, [note, _caption(rows)], notes, format, width, "tables/summary.csv")


def render_ranking(ranking: pd.DataFrame, format: HumanFormat | Literal["csv"], *, width: int | None = None) -> str:
    """Show a ranking, its score and what the score is made of; the rows that are not ranked stand below with reasons.

    Parameters
    ----------
    ranking : as :func:`common.ranking.rank` returns.
    """
    if format == "csv":
        return _csv(ranking)
    if not len(ranking):
        return lay_out([], [], ["no trial ended well; there is nothing to rank."], format, width, "")
    rows = ranking[ranking["reason"].isna()].reset_index(drop=True)
    scores = [name for name in rows.columns if name.startswith("score_") and rows[name].notna().any()]
    columns = [Column("rank", [Cell(f"{value:.0f}") for value in rows["rank"]]), *_identity(rows)]
    columns += [Column("score", [Cell(f"{value:.3f}") for value in rows["score"]])]
    for position, name in enumerate(scores):
        cells = [Cell(DASH if pd.isna(value) else f"{value:.2f}") for value in rows[name]]
        columns.append(Column(name.removeprefix("score_"), cells, keep=99 - position))
    notes = ["score: weighted mean of the figures to its right, each scaled from 0, the worst of its data set and "
             "split here, to 1, the best; it depends on which rows are compared."]  # fmt: skip
    said = {(f"{row['dataset']} {_split(row)}: ", row["note"]) for _, row in ranking.iterrows()}
    alike = len({note for _, note in said}) == 1
    notes += sorted({note if alike else where + note for where, note in said})
    unranked = ranking[ranking["reason"].notna()]
    notes += [f"not ranked: {name}: {why}" for name, why in zip(_names(unranked), unranked["reason"], strict=True)]
    return lay_out(columns if len(rows) else [], [_caption(rows)], notes, format, width, "tables/ranking.csv")


def write_tables(records: pd.DataFrame, directory: Path) -> None:
    """Write ``trials.csv``, ``summary.csv`` and ``ranking.csv``; equal records give equal bytes in any row order.

    Parameters
    ----------
    records : a row a trial.
    directory : made where it is not there; each file is replaced whole.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    summary = summarize(records)
    trials = in_order(complete(records))
    trials["error"] = [None if pd.isna(error) else error_line(error) for error in trials["error"]]
    trials["warnings"] = ["; ".join(items) if isinstance(items, list) else items for items in trials["warnings"]]
    tables = {"trials": trials, "summary": summary, "ranking": rank(summary, DEFAULT_WEIGHTS)}
    for name, table in tables.items():
        write_atomically(directory / f"{name}.csv", _csv(table))


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n")


# What identifies a row


def _varying(rows: pd.DataFrame) -> list[str]:
    fields = [name for name in SPEC_FIELDS if name not in JOINED]
    return [name for name in fields if rows[name].nunique(dropna=False) > 1]


def _split(row: pd.Series[Any]) -> str:
    if pd.isna(row["train_share"]):
        return str(row["split"])
    train = 100 * row["train_share"]
    return f"{train:g}/{100 - train:g}"


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _setting(name: str, value: Any) -> str:
    if pd.isna(value):
        return {"rows": "all", "early_stopping_patience": "off"}.get(name, DASH)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _identity(rows: pd.DataFrame) -> list[Column]:
    """Return the columns that say which configuration a row is: always backend and architecture, then what varies."""
    texts = {
        "backend": [backend_label(row) for _, row in rows.iterrows()],
        "architecture": [str(name) for name in rows["architecture"]],
        "split": [_split(row) for _, row in rows.iterrows()],
    }
    if len(set(texts["split"])) == 1:
        del texts["split"]
    for name in _varying(rows):
        texts[_label(name)] = [_setting(name, value) for value in rows[name]]
    return [Column(header, [Cell(text) for text in cells], right=False) for header, cells in texts.items()]


def _names(rows: pd.DataFrame) -> list[str]:
    """Return each row's identity in one line: backend and architecture, then what varies, named."""
    if not len(rows):
        return []
    backend, architecture, *others = _identity(rows)
    names = []
    for at in range(len(rows)):
        more = ", ".join(f"{column.header} {column.cells[at].text}" for column in others)
        names.append(f"{backend.cells[at].text} {architecture.cells[at].text}" + (f" ({more})" if more else ""))
    return names


def _caption(rows: pd.DataFrame) -> str | None:
    """Return in one line what all rows share; settings at nothing (0, off, null) or as usual go without saying."""
    if not len(rows):
        return None
    head, varying = rows.iloc[0], _varying(rows)
    splits = {_split(row) for _, row in rows.iterrows()}
    parts = [] if "dataset" in varying else [str(head["dataset"])]
    parts += [f"split {splits.pop()}"] if len(splits) == 1 else []
    for name in (name for name in SPEC_FIELDS if name not in [*JOINED, "dataset", *varying]):
        value = head[name]
        if pd.isna(value) or value in (0, False, "", "none"):
            continue
        if name in USUAL and value == USUAL[name]:
            continue
        bare = name in ("optimizer", "device", "precision")
        parts.append(_setting(name, value) if bare else f"{_label(name)} {_setting(name, value)}")
    return " · ".join(parts)


# Figures and which of them are best


def _figures(rows: pd.DataFrame) -> list[Column]:
    columns = []
    for figure in FIGURES:
        ran_to_the_end = figure.column == "epochs_mean" and (rows["epochs_mean"] == rows["max_epochs"]).all()
        if rows[figure.column].notna().any() and not ran_to_the_end:
            columns.append(Column(figure.header, _cells(rows, figure), figure.keep))
    seeds = []
    for n, status, chance in zip(rows["n"], rows["status"], at_chance(rows), strict=True):
        seeds.append(", ".join([str(n), *([status] if status != "ok" else []), *(["chance"] if chance else [])]))
    return [*columns, Column("n", [Cell(text) for text in seeds], right=False)]


def _cells(rows: pd.DataFrame, figure: Figure) -> list[Cell]:
    best = _best(rows, figure)
    cells = []
    for at, row in rows.iterrows():
        value = row[figure.column]
        if pd.isna(value):
            cells.append(Cell(DASH))
            continue
        text, remark = figure.show(value), ""
        if figure.column == "test_accuracy_mean":
            text += "" if pd.isna(row["test_accuracy_sd"]) else f" ± {percent(row['test_accuracy_sd'])}"
        elif figure.column == "test_accuracy_low":
            text = f"[{text}, {percent(row['test_accuracy_high'])}]"
        elif figure.metric and METRICS[figure.metric].timed and row["contended"]:
            remark = "†"
        if figure.column == "energy_j" and not _measured(row):
            text = f"≈{text}"
        cells.append(Cell(text, at in best, remark))
    return cells


def _measured(row: pd.Series[Any]) -> bool:
    return str(row["energy_method"]).startswith("measured")


def _best(rows: pd.DataFrame, figure: Figure) -> set[Any]:
    """Return the rows that are best in a column, among those with the same test sets and figures of the same kind.

    A network at chance is no candidate, nor is a time taken while others ran. Equal as shown is equal.
    """
    if figure.metric is None:
        return set()
    metric = METRICS[figure.metric]
    rows = rows[~at_chance(rows) & rows[figure.column].notna()]
    if metric.timed:
        rows = rows[~rows["contended"].eq(True)]
    best: set[Any] = set()
    for _, group in rows.groupby(SAME_TEST, dropna=False, sort=False):
        mixed = figure.column == "energy_j" and len({_measured(row) for _, row in group.iterrows()}) > 1
        if len(group) > 1 and not mixed:
            values = group[figure.column]
            shown = figure.show(values.max() if metric.higher else values.min())
            best |= {at for at, value in values.items() if figure.show(value) == shown}
    return best


# What stands below the table


def _notes(rows: pd.DataFrame) -> list[str]:
    if not len(rows):
        return ["no trial ended well; there is nothing to compare."]
    groups = rows.groupby(SAME_TEST, dropna=False).ngroups
    among = " among rows with the same data and split" if groups > 1 else ""
    notes = [
        f"best in its column{among} is marked; {DASH} not measured; "
        "n seeds: scores are means (± sd) over them, times medians.",
        *_seeds_notes(rows),
    ]
    chance = at_chance(rows)
    if chance.any():
        notes.append("chance: test accuracy below 1.5 times that of guessing; the network did not learn, and is not "
                     "marked best in anything.")  # fmt: skip
    if rows["contended"].eq(True).any():
        notes.append("† timed while other trials ran: longer than alone, and compared with nothing.")
    if rows["peak_memory_mb"].notna().any():
        notes.append("peak MB: of the whole process, frameworks included, measured once, in the fresh process of a "
                     "configuration's first seed.")  # fmt: skip
    methods = sorted({text for text in rows["energy_method"] if not pd.isna(text)})
    if methods:
        notes.append(f"energy: {'; '.join(methods)} (≈ estimated, which is never compared with measured).")
    absent = [figure.header for figure in FIGURES if rows[figure.column].isna().all()]
    return [*notes, *([f"not measured in this run: {', '.join(absent)}."] if absent else [])]


def _seeds_notes(rows: pd.DataFrame) -> list[str]:
    """Say what the intervals are, and which differences in accuracy are too small for the seeds there are."""
    seeds, most = int(rows["n"].min()), int(rows["n"].max())
    few = rows[rows["n"] >= 2]
    kinds = ["Student's t"] * bool(len(few) and few["n"].min() < BOOTSTRAP_SEEDS)
    kinds += [f"BCa bootstrap from {BOOTSTRAP_SEEDS} seeds on"] * (most >= BOOTSTRAP_SEEDS)
    intervals = [f"95% interval of the mean: {', '.join(kinds)}."] if kinds else []
    if seeds >= CLAIM_SEEDS:
        return intervals
    text = f"n < {CLAIM_SEEDS} seeds"
    if len(few) and few["n"].min() < CLAIM_SEEDS:
        n, sd = int(few["n"].min()), float(few["test_accuracy_sd"].median())
        text += (
            f": with {n} seeds and this table's median sd of {percent(sd)} points, differences in accuracy "
            f"below about {percent(least_difference(sd, n))} points cannot be concluded"
        )
    text += "; of one seed the spread is unknown, so nothing can be concluded" if seeds == 1 else ""
    return [*intervals, f"{text}. Fewer than {CLAIM_SEEDS} seeds support no claim."]


def _failure_lines(summary: pd.DataFrame) -> list[str]:
    """List what failed or is unsupported, rows with the same backend, architecture and reason in one line."""
    bad = summary[summary["failures"].notna()].reset_index(drop=True)
    where: dict[tuple[str, str], list[str]] = {}
    for name, reason in zip(_names(bad), bad["failures"], strict=True):
        head, _, more = name.partition(" (")
        where.setdefault((head, reason), []).append(more.removesuffix(")"))
    lines = []
    for (head, reason), settings in where.items():
        more = "; ".join(text for text in settings if text)
        lines.append(f"{head}{f' ({more})' if more else ''}: {reason}")
    return lines
