"""What attention is worth: a network against its twins of as many parameters, without attention or content in it.

A twin of ``scores=position`` still attends, by place alone: over it, what content weighs is measured.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from common.stats import INTERVAL_SEEDS, evidence_interval

WITHOUT = ("scores=position", "scores=uniform", "scores=none")
"""How a twin's name ends, or goes on: no query and key, the plain mean, no attention at all."""

LEAST, MOST = 0.97, 1.1
"""Parameters of a twin, as a share of the network's: fewer would flatter the network, and more are against it."""

COLUMNS = ["twin", "worth", "worth_low", "worth_high"]


def worth(ok: pd.DataFrame, of: pd.Series[int], fields: list[str]) -> pd.DataFrame:
    """Compare each network that has twins with the one that comes closest to it.

    Parameters
    ----------
    ok : a row a trial that ended well.
    of : which configuration each trial belongs to.
    fields : what must be the same in network and twin: all of a configuration but the architecture.

    Returns
    -------
    DataFrame
        By configuration, the name of the twin that comes closest, the mean difference in test accuracy (a share) over
        shared seeds, and its interval: all twins' intervals hold with 95% together (Bonferroni). Null below
        :data:`common.stats.INTERVAL_SEEDS` seeds; without interval where they are too few and all differ alike.
    """
    rows: dict[Any, tuple[str, float | None, float | None, float | None]] = {}
    names = ok["architecture"].unique()
    heads = {label.partition("+")[0] for label in names if set(label.split("+")) & set(WITHOUT)}
    family = ok.assign(of=of)[ok["architecture"].isin([name for name in names if name.partition("+")[0] in heads])]
    for _, alike in family.groupby(fields, dropna=False, sort=False):
        networks = {str(name): trials.set_index("seed") for name, trials in alike.groupby("architecture")}
        for name, network in networks.items():
            changes = {
                label: network["test_accuracy"].sub(twin["test_accuracy"]).dropna()
                for label, twin in networks.items()
                if _is_twin(label, name) and LEAST <= twin["parameters"].iloc[0] / network["parameters"].iloc[0] <= MOST
            }
            changes = {label: change for label, change in changes.items() if len(change) >= INTERVAL_SEEDS}
            if changes:
                closest = min(changes, key=lambda label: changes[label].mean())
                found = evidence_interval(changes[closest], level=1 - 0.05 / len(changes))
                rows[network["of"].iloc[0]] = (closest, found.mean, found.low, found.high)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    return table.astype(dict.fromkeys(COLUMNS[1:], "float64"))


def _is_twin(label: str, name: str) -> bool:
    return "+" not in name and label.startswith(f"{name}+") and bool(set(label.split("+")) & set(WITHOUT))


def notes(rows: pd.DataFrame) -> list[str]:
    """Say in words what attention is worth in each row of a summary that has twins."""
    return [_note(row) for row in rows[rows["twin"].notna()].to_dict("records")]


def _note(row: dict[Any, Any]) -> str:
    low, high = 100 * row["worth_low"], 100 * row["worth_high"]
    head, points = f"{row['architecture']}:", f"{100 * row['worth']:+.2f} points"
    closest = f"over its closest twin of as many parameters, {row['twin']}"
    if pd.isna(low):
        return f"{head} {points} {closest}, in every seed the same: too few seeds to say what attention is worth there."
    verdict = "worth its parameters" if low > 0 else "worth less than nothing" if high < 0 else "worth nothing"
    between = "" if low > 0 or high < 0 else ", which these seeds cannot tell from zero"
    return f"{head} {points} [{low:.2f}, {high:.2f}] {closest}{between}: attention is {verdict} there."
