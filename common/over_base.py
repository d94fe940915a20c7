"""What each change to a study's base brings: every configuration against the base that it was changed from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from common.best import NOT_TOLD_APART, TOLD_APART
from common.layout import DASH
from common.stats import ALPHA, CLAIM_SEEDS, INTERVAL_SEEDS, evidence_interval, holm, paired_t

COLUMNS = ["over_base", "over_base_low", "over_base_high", "over_base_p"]
BASE, ONE_OF_SEVERAL, NOT_TESTED = "base", "one of several bases", "not tested"


def over_base(ok: pd.DataFrame, of: pd.Series[int], fields: list[str], base: Collection[str]) -> pd.DataFrame:
    """Compare each configuration with the base that shares `fields` with it, where there is exactly one.

    Parameters
    ----------
    ok : a row a trial that ended well.
    of : which configuration each trial belongs to.
    fields : what no change concerns: data, split, backend.
    base : keys of the base's trials.

    Returns
    -------
    DataFrame
        By configuration: ``against_base`` (a word, ``base`` for the base itself), the mean difference in test accuracy
        (a share) over shared seeds, its 95% interval from :data:`common.stats.INTERVAL_SEEDS` seeds on, and the p-value
        of the paired t test from :data:`common.stats.CLAIM_SEEDS` on, adjusted (Holm) over all rows.
    """
    rows: dict[Any, list[Any]] = {}
    marked = ok.assign(of=of, base=ok["key"].isin(list(base)))
    with_base = marked.groupby(fields, dropna=False)["base"].transform("any")
    for _, alike in marked[with_base].groupby(fields, dropna=False, sort=False):
        bases = alike.loc[alike["base"], "of"].unique()
        if len(bases) > 1:  # the command line may give a base's setting several values
            rows |= {at: [ONE_OF_SEVERAL, None, None, None, None] for at in bases}
        else:
            scores = alike.pivot(index="seed", columns="of", values="test_accuracy")
            rows |= {at: _against(scores[at] - scores[bases[0]]) for at in scores if at != bases[0]}
            rows[bases[0]] = [BASE, None, None, None, None]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["against_base", *COLUMNS])
    table[COLUMNS] = table[COLUMNS].astype("float64")
    table["over_base_p"] = holm(table["over_base_p"].to_numpy())
    tested = table["over_base_p"].notna()
    table.loc[tested, "against_base"] = [
        TOLD_APART if p < ALPHA else NOT_TOLD_APART for p in table["over_base_p"][tested]
    ]
    return table


def _against(by_seed: pd.Series[float]) -> list[Any]:
    change = by_seed.dropna().round(12).to_numpy()  # rounding off what sums add
    found = evidence_interval(change)
    low, high = (found.low, found.high) if found.n >= INTERVAL_SEEDS else (None, None)
    return [NOT_TESTED, found.mean, low, high, paired_t(change) if found.n >= CLAIM_SEEDS else None]


def note(rows: pd.DataFrame, names: list[str]) -> list[str]:
    """Say below a table with a base what its column means, or why there is none; `names` are those of the rows."""
    several = bool(rows["against_base"].eq(ONE_OF_SEVERAL).any())
    said = [
        "over base: not where the study's base is several configurations of the same backend, data and split."
    ] * several
    if rows["over_base"].isna().all():
        return said
    bases = [name for name, word in zip(names, rows["against_base"], strict=True) if word == BASE]
    base = bases[0] if len(bases) == 1 else "of the same backend, data and split"
    untested = f" ? not tested: fewer than {CLAIM_SEEDS} seeds in common." * bool(
        rows["against_base"].eq(NOT_TESTED).any()
    )
    alone = f" {DASH} without such a base that ended well." * bool(rows["against_base"].isna().any())
    text = (f"over base: points of accuracy over the study's base, {base}: mean difference by seed, with the 95% interval "
            "of each by itself; = not distinguishable from none (paired t, Holm over the column).")  # fmt: skip
    return [*said, text + untested + alone]
