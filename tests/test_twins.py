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


BEST = trials(NETWORK, 0.980, 0.981, 0.982, 0.981, 0.981)
NEAR = trials(POSITION, 0.979, 0.9795, 0.981, 0.980, 0.980)
FAR = trials(NONE, 0.96, 0.98, 0.90, 0.97, 0.96)


def test_worth_is_the_mean_difference_by_seed_to_the_closest_twin() -> None:
    found = row(BEST, NEAR, FAR)
    assert found["twin"] == POSITION
    assert found["worth"] == pytest.approx(0.0011)
    # Student's t with 4 degrees of freedom, 97.5% for each of two twins: 3.4954 standard errors
    half = 3.495406 * pd.Series([0.001, 0.0015, 0.001, 0.001, 0.001]).std() / 5**0.5
    assert (found["worth_low"], found["worth_high"]) == pytest.approx((0.0011 - half, 0.0011 + half))
    assert row(BEST, FAR)["twin"] == NONE
    assert row(BEST, FAR[:3])["twin"] == NONE


@pytest.mark.parametrize(
    ("twins", "said"),
    [
        ([0.979, 0.9795, 0.981, 0.980, 0.980], "attention is worth its parameters there"),
        (
            [0.979, 0.983, 0.981, 0.982, 0.981],
            "which these seeds cannot tell from zero: attention is worth nothing there",
        ),
        ([0.990, 0.991, 0.992, 0.991, 0.992], "attention is worth less than nothing there"),
    ],
)
def test_the_table_says_what_attention_is_worth(twins: list[float], said: str) -> None:
    summary = summarize(frame(*BEST, *trials(POSITION, *twins)))
    text = " ".join(render(summary, "text", width=500).split())
    assert "points [" in text and f"over its closest twin of as many parameters, {POSITION}" in text
    assert said in text


@pytest.mark.parametrize("gain", [0.001, 0.0, -0.01])
def test_a_few_equal_differences_say_nothing(gain: float) -> None:
    twin = trials(POSITION, *(record["test_accuracy"] - gain for record in BEST))
    found = row(BEST, twin)
    assert found["worth"] == pytest.approx(gain) and pd.isna(found["worth_low"]) and pd.isna(found["worth_high"])
    text = " ".join(render(summarize(frame(*BEST, *twin)), "text", width=500).split())
    assert f"{POSITION}, in every seed the same: too few seeds to say what attention is worth there." in text
    assert "attention is worth" not in text.replace("what attention is worth", "")


def test_no_twin_is_smaller_of_other_settings_or_of_other_scores() -> None:
    five = (0.98, 0.98, 0.98, 0.98, 0.98)
    smaller, larger = trials(NONE, *five, parameters=1900), trials(NONE, *five, parameters=2300)
    longer = trials(NONE, *five, max_epochs=51)
    frozen = trials("attention_2k+scores=frozen", *five)
    few = trials(NONE, *five[:2])
    for other in (smaller, larger, longer, frozen, few):
        assert pd.isna(row(BEST, other)["twin"])
