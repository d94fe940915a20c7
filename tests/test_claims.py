"""Claims: what decides each of them, on records made by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from test_tables import trial

from common.claims import Verdict, render, verdicts
from common.published import LIGHTWEIGHT

SIZES = {model.architecture: model.parameters for model in LIGHTWEIGHT} | {"attention_2k": 1_962, "attention_5k": 4_982}


def trials(architecture: str, accuracies: tuple[float, ...], **changes: Any) -> list[dict[str, Any]]:
    fixed = {
        "architecture": architecture,
        "max_epochs": 20,
        "split": "official",
        "train_share": None,
        "rows": None,
        "schedule": "step",
        "batch_size": 64,
        "parameters": SIZES[architecture],
        "cpu": "one",
        **changes,
    }
    times = {name: changes.get(name, usual) for name, usual in (("fit_s_to_98", 1.6), ("energy_j", 500.0))}
    return [
        trial(
            seed=seed,
            test_accuracy=value,
            **({"val_accuracy": value} | fixed | {name: time * (1 + seed / 100) for name, time in times.items()}),
        )
        for seed, value in enumerate(accuracies)
    ]


def decided(*groups: list[dict[str, Any]]) -> dict[str, Verdict]:
    frame = pd.DataFrame([record for group in groups for record in group])
    return {verdict.claim: verdict for verdict in verdicts(frame)}


CNN = ("cnn", (0.9950, 0.9951, 0.9953))
LIGHT = ("attention_5k", (0.9921, 0.9922, 0.9925))


def test_a_published_accuracy_holds_fails_or_needs_more() -> None:
    name = "Traditional_CNN: accuracy (cnn)"
    assert decided(trials(*CNN))[name].word == "holds"
    worse = trials("cnn", (0.9900, 0.9901, 0.9902))
    assert decided(worse)[name].word == "fails"
    short = decided(trials("cnn", (0.9900, 0.9901, 0.9902), max_epochs=2))[name]
    assert short.word == "cannot be told" and "2 epochs, of 15 published" in short.why
    assert decided(worse[:2])[name].word == "cannot be told"
    assert decided(trials("cnn", (0.99, 0.99, 0.99), rows=1000))[name].measured == "-"
    otherwise = decided(trials("cnn", (0.9900, 0.9901, 0.9902), schedule="one_cycle"))[name]
    assert otherwise.word == "cannot be told" and "another schedule than published" in otherwise.why
    equal = decided(trials("cnn", (0.99, 0.99, 0.99)))[name]
    assert equal.word == "cannot be told" and "all 3 seeds gave the same" in equal.why


def test_a_trial_that_two_runs_have_counts_once() -> None:
    beside = trials("cnn", (0.9950, 0.9951, 0.9953), contended=True)
    found = decided(beside, trials(*CNN), trials(*LIGHT, energy_j=50.0))
    assert found["Traditional_CNN: accuracy (cnn)"].measured == "99.51% [99.48, 99.55], n = 3"
    assert found["consume less energy (single-weight)"].word == "holds", "timed alone where it was"


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
    assert found["converge faster (single-weight)"].measured.startswith("0.61 s sooner")
    assert all(found[claim.replace("single-weight", "as published")].word == "cannot be told" for claim in words)


def test_what_the_interval_does_not_decide_cannot_be_told() -> None:
    wide = trials("attention_5k", (0.970, 0.981, 0.990), energy_j=1000.0, model_bytes=10**9, fit_s_to_98=9.0)
    found = decided(trials(*CNN), wide)
    assert found["the best over 98% on the test set (single-weight)"].word == "cannot be told"
    assert found["the best within 0.5 points of the best full-size network (single-weight)"].word == "cannot be told"
    assert found["smaller in memory and storage (single-weight)"].word == "fails"
    assert found["converge faster (single-weight)"].word == "fails"
    assert found["consume less energy (single-weight)"].word == "fails"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"contended": True}, "timed with no other trial beside it"),
        ({"cpu": "another"}, "ran on different processors"),
    ],
    ids=str,
)
def test_times_and_energy_of_other_circumstances_decide_nothing(changes: dict[str, Any], why: str) -> None:
    light = trials(*LIGHT, energy_j=1.0, fit_s_to_98=0.1, **changes)
    for cnn in (trials(*CNN), trials(*CNN, contended="contended" in changes)):
        found = decided(cnn, light)
        for title in ("converge faster", "consume less energy"):
            verdict = found[f"{title} (single-weight)"]
            assert verdict.word == "cannot be told" and why in verdict.why
        assert found["the best over 98% on the test set (single-weight)"].word == "holds"


def test_time_and_energy_are_decided_by_the_networks_that_were_timed_alone() -> None:
    accurate = trials("attention_2k", (0.9965, 0.9966, 0.9967), contended=True)
    light, cnn = trials(*LIGHT, energy_j=1.0, fit_s_to_98=0.1), trials(*CNN)
    found = decided(cnn, accurate, light)
    assert "attention_2k" in found["the best over 98% on the test set (single-weight)"].why
    for title in ("converge faster", "consume less energy"):
        verdict = found[f"{title} (single-weight)"]
        assert verdict.word == "holds" and f"{LIGHT[0]} against cnn" in verdict.why


def test_times_and_energy_of_unsteady_seeds_decide_nothing() -> None:
    light = trials(*LIGHT, energy_j=1.0, fit_s_to_98=0.1)
    light[1]["epoch_s"] *= 2.5
    found = decided(trials(*CNN), light)
    for title in ("converge faster", "consume less energy"):
        verdict = found[f"{title} (single-weight)"]
        assert verdict.word == "cannot be told" and "more than 2 times as long as another" in verdict.why


def test_every_seed_must_converge_for_times_to_be_compared() -> None:
    claim = "converge faster (single-weight)"
    light, cnn = trials(*LIGHT, fit_s_to_98=0.1), trials(*CNN)
    assert decided(cnn, light)[claim].word == "holds"
    light[2]["fit_s_to_98"] = None
    some = decided(cnn, light)[claim]
    assert some.word == "cannot be told" and "with 2 of 3 seeds" in some.why
    never = [{**record, "fit_s_to_98": None} for record in light]
    assert decided(cnn, never)[claim].word == "fails"
    assert decided(cnn, never[:1])[claim].word == "cannot be told", "one seed"
    assert decided([{**record, "fit_s_to_98": None} for record in cnn], never)[claim].word == "cannot be told"


ONE_CYCLE = {"optimizer": "adamw", "schedule": "one_cycle"}


def test_networks_are_compared_where_they_were_trained_alike() -> None:
    claim = "the best within 0.5 points of the best full-size network (single-weight)"
    plain, light = trials(*CNN), trials(*LIGHT, **ONE_CYCLE)
    alike = trials("cnn", (0.9990, 0.9992, 0.9993, 0.9995), **ONE_CYCLE)
    found, turned = decided(plain, alike, light), decided(light, alike, plain)
    assert found == turned, "whatever the order of the records"
    assert found[claim].word == "fails" and found[claim].measured.startswith("0.69 points behind")
    assert found["Traditional_CNN: accuracy (cnn)"].measured.startswith("99.51%"), "as published, if of fewer seeds"
    otherwise = decided(plain, light)
    for title in (claim, *(f"{start} (single-weight)" for start in ("converge faster", "consume less energy"))):
        assert otherwise[title].word == "cannot be told"
        assert otherwise[title].why == "trained otherwise: attention_5k and cnn differ in optimizer, schedule"
    assert otherwise["the best over 98% on the test set (single-weight)"].word == "holds"


def test_the_best_is_the_best_on_validation_data() -> None:
    lucky = trials("lightweight_basic", (0.9890, 0.9891, 0.9892), val_accuracy=0.970)
    better = trials("lightweight_conv", (0.9780, 0.9781, 0.9782), val_accuracy=0.980)
    verdict = decided(lucky, better)["the best over 98% on the test set (as published)"]
    assert verdict.word == "fails" and "lightweight_conv" in verdict.why
    budget = [{**record, "parameters": 4_000} for record in (*lucky, *better)]
    assert "lightweight_conv" in decided(budget)["under 5,000 parameters: not beaten"].why


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
