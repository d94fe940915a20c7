"""Claims: what decides each of them, on records made by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from test_tables import trial

from common.claims import Verdict, render, verdicts
from common.published import LIGHTWEIGHT

SIZES = {model.architecture: model.parameters for model in LIGHTWEIGHT} | {"attention_5k": 4_982}


def trials(architecture: str, accuracies: tuple[float, ...], **changes: Any) -> list[dict[str, Any]]:
    fixed = {
        "architecture": architecture,
        "max_epochs": 20,
        "split": "official",
        "train_share": None,
        "rows": None,
        "parameters": SIZES[architecture],
        "fit_s_to_98": 1.6,
        **changes,
    }
    return [trial(seed=seed, test_accuracy=value, **fixed) for seed, value in enumerate(accuracies)]


def decided(*groups: list[dict[str, Any]]) -> dict[str, Verdict]:
    frame = pd.DataFrame([record for group in groups for record in group])
    return {verdict.claim: verdict for verdict in verdicts(frame)}


CNN = ("cnn", (0.9950, 0.9951, 0.9953))
LIGHT = ("attention_5k", (0.9921, 0.9922, 0.9924))


def test_a_published_accuracy_holds_fails_or_needs_more() -> None:
    name = "Traditional_CNN: accuracy (cnn)"
    assert decided(trials(*CNN))[name].word == "holds"
    worse = trials("cnn", (0.9900, 0.9901, 0.9902))
    assert decided(worse)[name].word == "fails"
    short = decided(trials("cnn", (0.9900, 0.9901, 0.9902), max_epochs=2))[name]
    assert short.word == "cannot be told" and "2 epochs, of 15 published" in short.why
    assert decided(worse[:2])[name].word == "cannot be told"
    assert decided(trials("cnn", (0.99, 0.99, 0.99), rows=1000))[name].measured == "-"


def test_parameters_are_exact_and_those_without_gradient_named() -> None:
    found = decided(trials("lightweight_basic", (0.98,), untrained_parameters=116_992.0))
    verdict = found["Lightweight_Basic: parameters (lightweight_basic)"]
    assert (verdict.word, verdict.why) == ("holds", "116,992 of them get no gradient")
    nodes = found["4 nodes: parameters (ffn:4)"]
    assert (nodes.claimed, nodes.measured, nodes.word) == ("3,214", "3,190", "fails")


def test_claims_on_a_family_compare_its_best_with_the_best_of_full_size() -> None:
    small = {"memory_rise_mb": 10.0, "model_bytes": 20_000, "fit_s_to_98": 1.0, "energy_j": 50.0}
    found = decided(trials(*CNN), trials(*LIGHT, **small))
    words = {claim: verdict.word for claim, verdict in found.items() if "(single-weight)" in claim}
    assert set(words.values()) == {"holds"} and len(words) == 7
    assert found["fewer parameters than a traditional CNN (single-weight)"].measured == "98.7% less"
    assert found["converge faster (single-weight)"].measured.startswith("0.60 s")
    assert all(found[claim.replace("single-weight", "as published")].word == "cannot be told" for claim in words)


def test_what_the_interval_does_not_decide_cannot_be_told() -> None:
    wide = trials("attention_5k", (0.970, 0.981, 0.990), energy_j=1000.0, model_bytes=10**9, fit_s_to_98=9.0)
    found = decided(trials(*CNN), wide)
    assert found["the best over 98% on the test set (single-weight)"].word == "cannot be told"
    assert found["the best within 0.5 points of the best full-size network (single-weight)"].word == "cannot be told"
    assert found["smaller in memory and storage (single-weight)"].word == "fails"
    assert found["converge faster (single-weight)"].word == "fails"
    assert found["consume less energy (single-weight)"].word == "fails"


@pytest.mark.parametrize("changes", [{"contended": True}, {"threads": 2}], ids=str)
def test_times_and_energy_of_other_circumstances_decide_nothing(changes: dict[str, Any]) -> None:
    found = decided(trials(*CNN), trials(*LIGHT, energy_j=1.0, fit_s_to_98=0.1, **changes))
    for title in ("converge faster", "consume less energy"):
        verdict = found[f"{title} (single-weight)"]
        assert verdict.word == "cannot be told" and f"differ in {next(iter(changes))}" in verdict.why
    assert found["the best over 98% on the test set (single-weight)"].word == "holds"


def test_a_record_stands_until_an_interval_within_its_budget_lies_above_it() -> None:
    claim = "under 5,000 parameters: not beaten"
    assert decided(trials(*CNN), trials(*LIGHT))[claim].word == "holds"
    assert decided(trials(*CNN))[claim].word == "cannot be told", "the CNN is over the budget"
    assert decided(trials("attention_5k", (0.9960, 0.9961)))[claim].word == "cannot be told"
    beaten = decided(trials("attention_5k", (0.9960, 0.9961, 0.9962)))[claim]
    assert beaten.word == "fails" and "attention_5k, 4,982 parameters" in beaten.why


def test_the_report_counts_and_says_how() -> None:
    found = list(decided(trials(*CNN)).values())
    for format in ("text", "markdown", "latex"):
        text = render(found, format)
        assert f"{len(found)} claims:" in text and "Traditional" in text and "interval of the mean" in text
