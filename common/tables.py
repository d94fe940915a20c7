"""The summary as a reader sees it: text, Markdown, LaTeX and CSV, with what may be concluded from it said below."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from common import over_base, twins
from common.best import BEST, NOT_TOLD_APART, TOLD_APART
from common.course import LEVELS
from common.friedman import rank_lines
from common.layout import DASH, Cell, Column, HumanFormat, lay_out
from common.naming import caption, identity, row_names, split_text, unlike
from common.ranking import DEFAULT_WEIGHTS, rank
from common.stats import BOOTSTRAP_SEEDS, CLAIM_SEEDS, least_difference
from common.store import write_atomically
from common.summary import (
    CONVERGENCE,
    METRICS,
    SAME_TEST,
    STEADY,
    at_chance,
    backend_label,
    complete,
    error_line,
    in_order,
    summarize,
    unsteady,
)


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
    Figure("over base", "over_base", lambda value: f"{round(100 * value, 2) + 0.0:+.2f}", 95),
    Figure("F1 %", "test_f1_macro_mean", percent, 20, "test_f1_macro"),
    Figure("log loss", "test_log_loss_mean", "{:.4f}".format, 50, "test_log_loss"),
    Figure("epochs", "epochs_mean", "{:.1f}".format, 45),
    Figure("fit s", "fit_s", number, 85, "fit_s"),
    Figure("first step s", "first_step_s", number, 35, "first_step_s"),
    *(
        Figure(f"s (epochs) to {level}%", f"fit_s_to_{level}", number, keep, f"fit_s_to_{level}")
        for level, keep in zip(LEVELS, (22, 25, 24), strict=True)
    ),
    Figure("epoch s", "epoch_s", number, 55, "epoch_s"),
    Figure("latency ms", "latency_ms_p50", number, 75, "latency_ms_p50"),
    Figure("samples/s", "throughput_per_s", number, 10, "throughput_per_s"),
    Figure("peak MB", "peak_memory_mb", number, 65, "peak_memory_mb"),
    Figure("parameters", "parameters", "{:,.0f}".format, 70, "parameters"),
    Figure("model kB", "model_bytes", lambda value: number(value / 1000), 30, "model_bytes"),
    Figure("energy J", "energy_j", number, 40, "energy_j"),
]

NOT_MISSED = {"over_base", *CONVERGENCE}
"""Columns without which a run still measured all: a level of accuracy may be reached by none, a study need have no base."""


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
        return to_csv(summary)
    rows = ended_well(summary)
    below = [*notes(rows), *failure_lines(summary)]
    return lay_out(columns(rows), [note, caption(rows), unlike(rows)], below, format, width, "tables/summary.csv")


def ended_well(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a summary of which at least one seed ended well, numbered from 0."""
    return summary[summary["n"] > 0].reset_index(drop=True)


def columns(rows: pd.DataFrame) -> list[Column]:
    """Return a table's columns, what identifies each row and its figures; none of no rows."""
    return [*identity(rows), *_figures(rows)] if len(rows) else []


def render_ranking(ranking: pd.DataFrame, format: HumanFormat | Literal["csv"], *, width: int | None = None) -> str:
    """Show a ranking, its score and what the score is made of; the rows that are not ranked stand below with reasons.

    Parameters
    ----------
    ranking : as :func:`common.ranking.rank` returns.
    """
    if format == "csv":
        return to_csv(ranking)
    if not len(ranking):
        return lay_out([], [], ["no trial ended well; there is nothing to rank."], format, width, "")
    rows = ranking[ranking["reason"].isna()].reset_index(drop=True)
    scores = [name for name in rows.columns if name.startswith("score_") and rows[name].notna().any()]
    shown = [Column("rank", [Cell(f"{value:.0f}") for value in rows["rank"]]), *identity(rows)]
    shown += [Column("score", [Cell(f"{value:.3f}") for value in rows["score"]])]
    for position, name in enumerate(scores):
        cells = [Cell(DASH if pd.isna(value) else f"{value:.2f}") for value in rows[name]]
        shown.append(Column(name.removeprefix("score_"), cells, keep=99 - position))
    below = ["score: weighted mean of the figures to its right, each scaled from 0, the worst of its data set and "
             "split here, to 1, the best; it depends on which rows are compared."]  # fmt: skip
    said = {(f"{row['dataset']} {split_text(row)}: ", row["note"]) for row in ranking.to_dict("records")}
    alike = len({note for _, note in said}) == 1
    below += sorted({note if alike else where + note for where, note in said})
    unranked = ranking[ranking["reason"].notna()]
    below += [f"not ranked: {name}: {why}" for name, why in zip(row_names(unranked), unranked["reason"], strict=True)]
    return lay_out(shown if len(rows) else [], [caption(rows)], below, format, width, "tables/ranking.csv")


def write_tables(records: pd.DataFrame, directory: Path, base: Collection[str] = ()) -> pd.DataFrame:
    """Write ``trials.csv``, ``summary.csv`` and ``ranking.csv``; equal records give equal bytes in any row order.

    Parameters
    ----------
    records : a row a trial.
    directory : made where it is not there; each file is replaced whole.
    base : as for :func:`common.summary.summarize`.

    Returns
    -------
    The summary that was written, see :func:`common.summary.summarize`.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    summary = summarize(records, base)
    trials = in_order(complete(records))
    trials["error"] = [None if pd.isna(error) else error_line(error) for error in trials["error"]]
    for name in {"warnings", "differs", "untrained"} & set(trials.columns):
        trials[name] = ["; ".join(items) if isinstance(items, list) else items for items in trials[name]]
    tables = {"trials": trials, "summary": summary, "ranking": rank(summary, DEFAULT_WEIGHTS)}
    for name, table in tables.items():
        write_atomically(directory / f"{name}.csv", to_csv(table))
    return summary


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV, its numbers with all the digits that come back as they were."""
    return table.to_csv(index=False, lineterminator="\n")


# Figures and which of them are best


def _figures(rows: pd.DataFrame) -> list[Column]:
    marked = rows.assign(unsteady=unsteady(rows), against_best=_against_starred(rows))
    columns, found = [], dict(zip(rows.index, marked.to_dict("records"), strict=True))
    for figure in FIGURES:
        ran_to_the_end = figure.column == "epochs_mean" and (rows["epochs_mean"] == rows["max_epochs"]).all()
        if rows[figure.column].notna().any() and not ran_to_the_end:
            columns.append(Column(figure.header, _cells(found, figure, _best(rows, figure)), figure.keep))
    seeds = []
    for n, status, chance in zip(rows["n"], rows["status"], at_chance(rows), strict=True):
        seeds.append(", ".join([str(n), *([status] if status != "ok" else []), *(["chance"] if chance else [])]))
    return [*columns, Column("n", [Cell(text) for text in seeds], right=False)]


def _cells(rows: Mapping[Any, Mapping[Any, Any]], figure: Figure, best: set[Any]) -> list[Cell]:
    tested = any(not pd.isna(row["against_best"]) for row in rows.values())
    cells = []
    for at, row in rows.items():
        if pd.isna(row[figure.column]):
            own = figure.column == "over_base" and row["against_base"] == over_base.BASE
            cells.append(Cell("base" if own else DASH))
            continue
        remark = ""
        if figure.column == "test_accuracy_mean":
            remark = _against_mark(row["against_best"]) if tested and at not in best else ""
        elif figure.column == "over_base":
            remark = _against_mark(row["against_base"])
        elif figure.metric and METRICS[figure.metric].timed:
            remark = "†" if row["contended"] else "~" if row["unsteady"] else ""
        cells.append(Cell(_shown(figure, row), at in best, remark))
    return cells


def _shown(figure: Figure, row: Mapping[Any, Any]) -> str:
    """Return a figure with what belongs to it: its spread, its interval, the epochs that it took."""
    text = figure.show(row[figure.column])
    if figure.column == "test_accuracy_mean":
        return text if pd.isna(row["test_accuracy_sd"]) else f"{text} ± {percent(row['test_accuracy_sd'])}"
    if figure.column == "test_accuracy_low":
        return f"[{text}, {percent(row['test_accuracy_high'])}]"
    if figure.column == "over_base" and not pd.isna(row["over_base_low"]):
        return f"{text} [{percent(row['over_base_low'])}, {percent(row['over_base_high'])}]"
    if figure.column == "energy_j":
        return text if _measured(row) else f"≈{text}"
    if figure.column.startswith("fit_s_to_"):
        return f"{text} ({row[figure.column.replace('fit_s', 'epochs')]:g})"
    return text


def _against_starred(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return ``against_best``, null where another row is starred than the best of those that were tested.

    The star is the highest mean of any number of seeds: of one with too few, nothing was told apart.
    """
    starred = rows.index.isin(list(_best(rows, FIGURES[0])))
    tested = (rows["against_best"].eq(BEST) & starred).groupby([rows[name] for name in SAME_TEST], dropna=False)
    return rows["against_best"].where(tested.transform("any"))


def _against_mark(verdict: Any) -> str:
    """Return ``=`` for what is not told apart from what it was tested against, ``?`` for what could not be tested."""
    return {TOLD_APART: "", BEST: "=", NOT_TOLD_APART: "="}.get(verdict, "?")


def _measured(row: Mapping[Any, Any]) -> bool:
    return str(row["energy_method"]).startswith("measured")


def _best(rows: pd.DataFrame, figure: Figure) -> set[Any]:
    """Return the rows that are best in a column, among those with the same test sets and figures of the same kind.

    A network at chance is no candidate, nor is a time taken while others ran, or unsteady. Equal as shown is equal.
    """
    if figure.metric is None:
        return set()
    metric = METRICS[figure.metric]
    rows = rows[~at_chance(rows) & rows[figure.column].notna()]
    if metric.timed:
        rows = rows[~rows["contended"].eq(True) & ~unsteady(rows)]
    best: set[Any] = set()
    for _, group in rows.groupby(SAME_TEST, dropna=False, sort=False):
        mixed = (
            figure.column == "energy_j"
            and len({str(method).startswith("measured") for method in group["energy_method"]}) > 1
        )
        if len(group) > 1 and not mixed:
            values = group[figure.column]
            shown = figure.show(values.max() if metric.higher else values.min())
            best |= {at for at, value in values.items() if figure.show(value) == shown}
    return best


# What stands below the table


def notes(rows: pd.DataFrame) -> list[str]:
    """Say what the marks in a table mean, and what may be concluded from it."""
    if not len(rows):
        return ["no trial ended well; there is nothing to compare."]
    groups = rows.groupby(SAME_TEST, dropna=False).ngroups
    among = " among rows with the same data and split" if groups > 1 else ""
    said = [
        f"best in its column{among} is marked; {DASH} not measured; "
        "n seeds: scores are means (± sd) over them, times and energy medians.",
        *_against_notes(rows),
        *_seeds_notes(rows),
        *_native_notes(rows),
        *_untrained_notes(rows),
        *twins.notes(rows),
        *(over_base.note(rows, row_names(rows)) if rows["against_base"].notna().any() else []),
    ]
    chance = at_chance(rows)
    if chance.any():
        said.append("chance: test accuracy below 1.5 times that of guessing: nothing learned yet that the test set "
                     "shows; not marked best in anything.")  # fmt: skip
    if rows["contended"].eq(True).any():
        said.append(
            "† timed while other trials ran, longer than alone, or as a share of a program that trained several; compared "
            "with nothing."
        )
    if unsteady(rows).any():
        said.append(f"~ the same work took one seed more than {STEADY:g} times as long as another (a busy machine?); "
                     "compared with nothing.")  # fmt: skip
    pruned = bool((rows["sparsity"] > 0).any())
    if rows[f"fit_s_to_{LEVELS[0]}"].notna().any():  # who came to a higher level passed the lowest
        said.append("s (epochs) to: training until that share of the validation images first was right"
                    + ", with all that is to be pruned gone" * pruned + f"; {DASH} where not every seed came there.")  # fmt: skip
    if pruned:
        said.append("sparsity: share of the kernels' weights that are zero; parameters and model kB count them all the "
                     "same, a file written by compare.py export does not.")  # fmt: skip
    if rows["first_step_s"].notna().any():
        said.append("first step s: one batch beforehand, with all that is traced or compiled at it; no part of fit s.")
    if rows["peak_memory_mb"].notna().any():
        said.append("peak MB: of the whole process, frameworks included, measured once, in the fresh process of a "
                     "configuration's first seed.")  # fmt: skip
    methods = sorted({text for text in rows["energy_method"] if not pd.isna(text)})
    if methods:
        said.append(f"energy: {'; '.join(methods)} (≈ estimated, which is never compared with measured).")
    absent = [
        figure.header for figure in FIGURES if rows[figure.column].isna().all() and figure.column not in NOT_MISSED
    ]
    said += [f"not measured in this run: {', '.join(absent)}."] * bool(absent)
    return [*said, *rank_lines(rows)]


def _against_notes(rows: pd.DataFrame) -> list[str]:
    """Say what the marks on accuracies mean, or what they would need."""
    compared = rows.groupby(SAME_TEST, dropna=False)["n"].transform("size") > 1
    if not compared.any():
        return []
    found = _against_starred(rows)
    if found.isna().all():
        return [f"which accuracies are distinguishable from the best cannot be said: that takes {CLAIM_SEEDS} seeds of "
                "the best and of another row with the same data and split."]  # fmt: skip
    text = ("= accuracy not distinguishable from the best with the same data and split; one with neither = nor * is "
            "(paired t by seed, Holm over all pairs of rows compared: 5% for all of them).")  # fmt: skip
    unknown = f" ? not tested: fewer than {CLAIM_SEEDS} seeds in common with the best, or at chance."
    return [text + (unknown if found.isna().any() else "")]


def _native_notes(rows: pd.DataFrame) -> list[str]:
    """Name what frameworks did their own way, to which differences between them may be due."""
    native = rows[rows["differs"].notna()]
    own = {str(backend): "; ".join(dict.fromkeys("; ".join(texts).split("; ")))
           for backend, texts in native.groupby("backend")["differs"]}  # fmt: skip
    return [f"native protocol, {backend}'s own: {text}." for backend, text in own.items()]


def _untrained_notes(rows: pd.DataFrame) -> list[str]:
    """Name the architectures of which whole arrays never learned."""
    found = rows[rows["untrained_parameters"] > 0].drop_duplicates("architecture")
    return [f"{row['architecture']}: {row['untrained_parameters']:,.0f} of its {row['parameters']:,.0f} parameters got no "
            "gradient (whole arrays as they were before training; the records name them)."
            for row in found.to_dict("records")]  # fmt: skip


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


def failure_lines(summary: pd.DataFrame) -> list[str]:
    """List what failed, rows with the same backend, architecture and reason in one line; then what is unsupported."""
    bad = summary[summary["failures"].notna()].reset_index(drop=True)
    failed: dict[tuple[str, str], list[str]] = {}
    unsupported: dict[tuple[str, str], list[str]] = {}
    for name, row in zip(row_names(bad), bad.to_dict("records"), strict=True):
        head, _, more = name.partition(" (")
        if row["failures"].startswith("unsupported"):
            unsupported.setdefault((backend_label(row), row["failures"]), []).append(row["architecture"])
        else:
            failed.setdefault((head, row["failures"]), []).append(more.removesuffix(")"))
    lines = []
    for (head, reason), settings in failed.items():
        more = "; ".join(text for text in settings if text)
        lines.append(f"{head}{f' ({more})' if more else ''}: {reason}")
    for (backend, reason), names in unsupported.items():
        lines.append(f"{backend} {', '.join(dict.fromkeys(names))}: {reason}")
    return lines
