"""What attention is worth: an attention network against its twins, which have none and as many parameters."""

from __future__ import annotations

from typing import Any

import pandas as pd

from common.stats import MeanInterval, mean_interval

WITHOUT = ("scores=position", "scores=uniform", "scores=none")
"""How a twin's name ends, or goes on: no query and key, the plain mean, no attention at all."""

EQUAL = 0.97
"""Share of the network's parameters that a twin has at least; less would flatter the network."""

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
        By configuration, the closest twin's name and the mean difference in test accuracy over shared seeds with its
        95% interval. Beating every twin is beating the closest, so nothing is to be corrected for their number.
    """
    rows: dict[Any, tuple[str, float | None, float | None, float | None]] = {}
    names = ok["architecture"].unique()
    heads = {label.partition("+")[0] for label in names if set(label.split("+")) & set(WITHOUT)}
    family = ok.assign(of=of)[ok["architecture"].isin([name for name in names if name.partition("+")[0] in heads])]
    for _, alike in family.groupby(fields, dropna=False, sort=False):
        networks = {str(name): trials.set_index("seed") for name, trials in alike.groupby("architecture")}
        for name, network in networks.items():
            found = {
                label: mean_interval(network["test_accuracy"].sub(twin["test_accuracy"]).dropna())
                for label, twin in networks.items()
                if _is_twin(label, name) and twin["parameters"].iloc[0] >= EQUAL * network["parameters"].iloc[0]
            }
            known = {label: interval for label, interval in found.items() if interval.low is not None}
            if known:
                closest = min(known, key=lambda label: _low(known[label]))
                interval = known[closest]
                rows[network["of"].iloc[0]] = (closest, interval.mean, interval.low, interval.high)
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)


def _is_twin(label: str, name: str) -> bool:
    return "+" not in name and label.startswith(f"{name}+") and bool(set(label.split("+")) & set(WITHOUT))


def _low(interval: MeanInterval) -> float:
    assert interval.low is not None
    return interval.low


def notes(rows: pd.DataFrame) -> list[str]:
    """Say in words what attention is worth in each row of a summary that has twins."""
    said = []
    for _, row in rows[rows["twin"].notna()].iterrows():
        low, high = 100 * row["worth_low"], 100 * row["worth_high"]
        verdict = "worth its parameters" if low > 0 else "worth less than nothing" if high < 0 else "worth nothing"
        between = "" if low > 0 or high < 0 else ", which cannot be told from zero"
        said.append(
            f"{row['architecture']}: {100 * row['worth']:+.2f} points [{low:.2f}, {high:.2f}] over its closest twin of "
            f"as many parameters, {row['twin']}{between}: attention is {verdict} there."
        )
    return said
