"""The answer to a study's question in a few sentences, written from the figures: the best, by how much, at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from common import twins
from common.best import BEST, NOT_TOLD_APART, TOLD_APART
from common.naming import row_names, split_text
from common.over_base import BASE
from common.report.choice import main_test
from common.stats import CLAIM_SEEDS, least_difference
from common.summary import STEADY, at_chance, configuration, unsteady
from common.tables import number, percent

if TYPE_CHECKING:
    from common.results import Results

NEAR = 0.005
"""Half a point: how much accuracy the cheaper networks named may lose where no test says which are as good."""


RISING = 0.002
"""Mean gain of the last epoch by which a network is said to be still learning; less is lost in an epoch's noise."""


def paragraph(results: Results) -> str:
    """Return the answer in one paragraph; of several data sets and splits, on the one of most rows."""
    rows = results.rows
    rows = rows[~at_chance(rows)].reset_index(drop=True)
    if not len(rows):
        return "No network learned anything that the test set shows; there is nothing to answer with."
    group = main_test(rows)
    names, all_names = (dict(zip(some.index, row_names(some), strict=True)) for some in (group, rows))
    elsewhere = _elsewhere(rows.drop(group.index), all_names)
    return " ".join(
        [
            *_sentences(group, names),
            *twins.notes(group),
            *_changes(main_test(results.rows).reset_index(drop=True)),
            *elsewhere,
            *_rising(results, rows, all_names),
            *_left(results),
        ]
    )


def _sentences(group: pd.DataFrame, names: Mapping[Any, str]) -> Iterator[str]:
    order = group.sort_values("test_accuracy_mean", ascending=False, kind="stable")
    best = order.iloc[0]
    level = order[order["test_accuracy_mean"].round(9) == round(best["test_accuracy_mean"], 9)]
    where = f"On {best['dataset']} ({split_text(best.to_dict())})"
    if len(level) == 1:
        yield f"{where}, the most accurate is {names[level.index[0]]}: {_accuracy(best)}."
    else:
        yield f"{where}, the most accurate are {_listed([names[at] for at in level.index])}, level at {_accuracy(best)}."
    yield from _cost(best)
    rest = order.drop(level.index)
    if not len(rest):
        return
    equals = _as_good(group, order.index[0])
    if equals is None:
        yield _undecided(best, rest, names)
        near = group[group["test_accuracy_mean"] >= best["test_accuracy_mean"] - NEAR]
        among = "Within half a point of it"
    elif others := [at for at in equals if at not in level.index]:
        listed = [names[at] for at in others[:4]] + [f"{len(others) - 4} more"] * (len(others) > 4)
        yield f"Not told apart from it by these seeds: {_listed(listed)}."
        near = group.loc[[order.index[0], *equals]]
        among = "Among those"
    else:
        points = 100 * (best["test_accuracy_mean"] - rest["test_accuracy_mean"].iloc[0])
        yield f"All others can be told apart from that; next is {names[rest.index[0]]}, {points:.2f} points below."
        near = group[group["test_accuracy_mean"] >= best["test_accuracy_mean"] - NEAR]
        among = "Within half a point of it"
    yield from _cheaper(near, order.index[0], names, among)


def _changes(rows: pd.DataFrame) -> Iterator[str]:
    """Say which changes to the study's base made a difference, the largest first; one that ends at chance is one too."""
    words, names = rows["against_base"], row_names(rows)
    tested = int(words.isin([TOLD_APART, NOT_TOLD_APART]).sum())
    if not tested:
        return
    told = rows[words == TOLD_APART].sort_values("over_base", key=abs, ascending=False, kind="stable")
    listed = [f"{names[at]} ({100 * told['over_base'][at]:+.2f} points)" for at in told.index[:6]]
    listed += [f"{len(told) - 6} more"] * (len(told) > 6)
    base = _listed([name for name, word in zip(names, words, strict=True) if word == BASE])
    found = (
        f"{len(told)} can be told from no change: {_listed(listed)}" if listed else "none can be told from no change"
    )
    yield f"Of {tested} change{'s' * (tested > 1)} to the study's base ({base}) that could be tested, {found}."


def _accuracy(row: pd.Series[Any]) -> str:
    n = int(row["n"])
    text = f"{percent(row['test_accuracy_mean'])}% of the test images right"
    if pd.isna(row["test_accuracy_low"]):
        return f"{text} (one seed)"
    low, high = percent(row["test_accuracy_low"]), percent(row["test_accuracy_high"])
    return f"{text} (mean of {n} seeds, 95% interval {low} to {high})"


def _as_good(group: pd.DataFrame, best: Any) -> list[Any] | None:
    """Return the rows that tests do not tell apart from the best, None where it was not tested against all others."""
    verdicts = group["against_best"].drop(best)
    if group.loc[best, "against_best"] != BEST or verdicts.isna().any():
        return None
    return [*verdicts[verdicts == NOT_TOLD_APART].index]


def _cost(best: pd.Series[Any]) -> Iterator[str]:
    parts = []
    if not pd.isna(best["fit_s"]):
        parts.append(f"{number(float(best['fit_s']))} s of training" + _reserve(best))
    if not pd.isna(best["parameters"]):
        parts.append(f"{int(best['parameters']):,} parameters")
    if parts:
        yield f"It cost {_listed(parts)}."


def _reserve(row: pd.Series[Any]) -> str:
    if row["contended"]:
        return " beside other trials"
    return " (times that vary widely from seed to seed)" if row["epoch_s_spread"] > STEADY else ""


def _undecided(best: pd.Series[Any], rest: pd.DataFrame, names: Mapping[Any, str]) -> str:
    points = 100 * (best["test_accuracy_mean"] - rest["test_accuracy_mean"].iloc[0])
    text = f"Next is {names[rest.index[0]]}, {points:.2f} points below; whether that difference is real cannot be said"
    few = int(min(best["n"], rest["n"].iloc[0]))
    if few < CLAIM_SEEDS:
        sd = rest.loc[rest["n"] >= 2, "test_accuracy_sd"].median()
        least = (
            ""
            if pd.isna(sd) or few < 2
            else f" (of differences below about {percent(least_difference(float(sd), few))} points nothing can)"
        )
        return f"{text} from {few} seed{'s' * (few != 1)}{least}."
    return f"{text} by the tests that were possible."


def _cheaper(near: pd.DataFrame, at: Any, names: Mapping[Any, str], among: str) -> Iterator[str]:
    """Name the fastest to train and the smallest among those that are about as good."""
    found = []
    timed = near["fit_s"][~near["contended"].eq(True) & ~unsteady(near)].dropna()
    if at in timed.index and timed.idxmin() != at:
        fast, slow = number(float(timed.min())), number(float(timed[at]))
        found.append(f"{names[timed.idxmin()]} trains fastest, in {fast} s where the best takes {slow} s")
    sizes = near["parameters"].dropna()
    if at in sizes.index and sizes.min() < sizes[at]:
        few, many = int(sizes.min()), int(sizes[at])
        found.append(f"{names[sizes.idxmin()]} is smallest, with {few:,} parameters where the best has {many:,}")
    if found:
        yield f"{among}, {_listed(found)}."


def _elsewhere(others: pd.DataFrame, names: Mapping[Any, str]) -> Iterator[str]:
    if not len(others):
        return
    count = others.groupby(["dataset", "split", "train_share"], dropna=False).ngroups
    place = int(others["test_accuracy_mean"].to_numpy().argmax())
    row = others.to_dict("records")[place]
    yield (
        f"{count} other data set{'s' * (count > 1)} or split{'s' * (count > 1)} stand in the table; the highest accuracy "
        f"there is {percent(row['test_accuracy_mean'])}%, of {names[others.index[place]]}, on {row['dataset']} "
        f"({split_text(row)})."
    )


def _rising(results: Results, rows: pd.DataFrame, names: Mapping[Any, str]) -> Iterator[str]:
    """Say which networks were still learning when their epochs were over; a falling learning rate ends that by itself."""
    gains: dict[Any, float] = {}
    for at, row in rows[rows["schedule"] == "constant"].iterrows():
        curves = [results.history(one["key"]).get("val_accuracy", []) for one in
                  results.by_configuration[configuration(row.to_dict())]]  # fmt: skip
        last = [curve[-2:] for curve in curves if len(curve) == row["max_epochs"] > 1]
        if last:
            gains[at] = sum((after or 0) - (before or 0) for before, after in last) / len(last)
    rising = {at: gain for at, gain in gains.items() if gain > RISING}
    if rising:
        most = max(rising, key=rising.__getitem__)
        yield (
            f"{len(rising)} of {len(gains)} networks with a constant learning rate still gained more than {100 * RISING:g} "
            f"points of validation accuracy in their last epoch, most {names[most]} ({100 * rising[most]:.2f}): with more "
            "epochs the order may be another."
        )


def _left(results: Results) -> Iterator[str]:
    failed = int(results.summary["n_failed"].sum())
    if failed:
        yield f"{failed} trial{'s' * (failed > 1)} failed and stand{'s' * (failed == 1)} below the table with the reason."
    missing = len(results.study["keys"]) - len(results.records)
    if missing > 0:
        yield f"{missing} of {len(results.study['keys'])} trials are still to be run."


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
