"""What the table says attention is worth, on records made by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from test_tables import frame, trial

from common.summary import summarize
from common.tables import render

NETWORK, POSITION, NONE = "attention_2k", "attention_2k+pooling_queries=7+scores=position", "attention_2k+scores=none"


def trials(architecture: str, *accuracies: float, parameters: int = 2000, **changes: Any) -> list[dict[str, Any]]:
    fixed = {"architecture": architecture, "parameters": parameters, **changes}
    return [trial(seed=seed, test_accuracy=value, **fixed) for seed, value in enumerate(accuracies)]


def row(*groups: list[dict[str, Any]]) -> pd.Series[Any]:
    summary = summarize(frame(*(record for group in groups for record in group)))
    return summary[summary["architecture"] == NETWORK].iloc[0]


BEST = trials(NETWORK, 0.980, 0.981, 0.982)
NEAR, FAR = trials(POSITION, 0.979, 0.9795, 0.981), trials(NONE, 0.96, 0.961, 0.962)


def test_worth_is_the_mean_difference_by_seed_to_the_closest_twin() -> None:
    found = row(BEST, NEAR, FAR)
    assert found["twin"] == POSITION
    assert found["worth"] == pytest.approx(0.0035 / 3)
    # Student's t with 2 degrees of freedom: 4.3027 standard errors
    half = 4.302653 * pd.Series([0.001, 0.0015, 0.001]).std() / 3**0.5
    assert (found["worth_low"], found["worth_high"]) == pytest.approx((0.0035 / 3 - half, 0.0035 / 3 + half))
    assert row(BEST, FAR)["twin"] == NONE


@pytest.mark.parametrize(
    ("twins", "said"),
    [
        ([0.979, 0.9795, 0.981], "attention is worth its parameters there"),
        ([0.979, 0.983, 0.981], "which cannot be told from zero: attention is worth nothing there"),
        ([0.990, 0.991, 0.992], "attention is worth less than nothing there"),
    ],
)
def test_the_table_says_what_attention_is_worth(twins: list[float], said: str) -> None:
    summary = summarize(frame(*BEST, *trials(POSITION, *twins)))
    text = " ".join(render(summary, "text", width=500).split())
    assert "points [" in text and f"over its closest twin of as many parameters, {POSITION}" in text
    assert said in text


def test_no_twin_is_smaller_of_other_settings_or_of_other_scores() -> None:
    smaller = trials(NONE, 0.98, 0.98, 0.98, parameters=1900)
    longer = trials(NONE, 0.98, 0.98, 0.98, max_epochs=51)
    frozen = trials("attention_2k+scores=frozen", 0.98, 0.98, 0.98)
    once = trials(NONE, 0.98)
    for other in (smaller, longer, frozen, once):
        assert pd.isna(row(BEST, other)["twin"])
