"""What each change to a study's base brings: in the summary, in the table, in the answer, and from a study file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import ttest_rel
from test_report import made_up, record
from test_tables import frame, trial

import backends
from common import studies
from common.naming import row_names
from common.report.answer import paragraph
from common.results import Results
from common.summary import summarize
from common.tables import render
from tests.command import call, the_run

BASE = (0.970, 0.972, 0.971, 0.974, 0.973)
CLEAR = tuple(value - loss for value, loss in zip(BASE, (0.020, 0.021, 0.019, 0.020, 0.020), strict=True))
VAGUE = tuple(value + gain for value, gain in zip(BASE, (0.004, -0.003, 0.001, -0.001, 0.002), strict=True))


def trials(accuracies: tuple[float, ...], **changes: Any) -> list[dict[str, Any]]:
    return [trial(seed=seed, test_accuracy=value, **changes) for seed, value in enumerate(accuracies)]


def summary(*groups: list[dict[str, Any]]) -> pd.DataFrame:
    """Summarize groups of records of which the first is the base."""
    return summarize(frame(*(one for group in groups for one in group)), [one["key"] for one in groups[0]])


def test_a_change_is_the_mean_difference_by_seed_with_its_interval_and_holms_p() -> None:
    rows = summary(trials(BASE), trials(CLEAR, schedule="cosine"), trials(VAGUE, l2=0.1))
    clear, vague = rows[rows["schedule"] == "cosine"].iloc[0], rows[rows["l2"] > 0].iloc[0]
    assert clear["over_base"] == pytest.approx(-0.020) and vague["over_base"] == pytest.approx(0.0006)
    half = 2.776445 * pd.Series([0.020, 0.021, 0.019, 0.020, 0.020]).std() / 5**0.5  # Student's t, 4 degrees of freedom
    assert (clear["over_base_low"], clear["over_base_high"]) == pytest.approx((-0.020 - half, -0.020 + half))
    ps = [float(ttest_rel(scores, BASE).pvalue) for scores in (CLEAR, VAGUE)]
    assert (clear["over_base_p"], vague["over_base_p"]) == pytest.approx((2 * ps[0], ps[1]))
    assert list(rows["against_base"]) == ["base", "not told apart", "told apart"]


def test_each_row_is_held_against_the_base_of_its_own_backend_data_and_split() -> None:
    ours, theirs = trials(BASE), trials(CLEAR, backend="sklearn")
    lone = trials(BASE, backend="sklearn", train_share=0.6)
    rows = summary([*ours, *theirs], trials(VAGUE, l2=0.1), trials(VAGUE, l2=0.1, backend="sklearn"), lone)
    found = {
        (row["backend"], row["train_share"]): row for row in rows[rows["against_base"] != "base"].to_dict("records")
    }
    assert found["torch", 0.8]["over_base"] == pytest.approx(0.0006)
    assert found["sklearn", 0.8]["over_base"] == pytest.approx(0.0206)
    assert pd.isna(found["sklearn", 0.6]["over_base"]) and pd.isna(found["sklearn", 0.6]["against_base"])
    text = render(rows, "text", width=1000)
    assert "the study's base, of the same backend, data and split:" in text


def test_of_two_bases_neither_is_the_base_and_the_table_says_so() -> None:
    two = summary([*trials(BASE), *trials(VAGUE, l2=0.1)], trials(CLEAR, schedule="cosine"))
    assert two["over_base"].isna().all()
    assert "over base: not where the study's base is several configurations" in render(two, "text", width=1000)


def test_no_column_where_nothing_is_held_against_the_base() -> None:
    assert "over base" not in render(summary(trials(BASE)), "text", width=1000)


def test_the_table_marks_what_is_not_told_apart_and_what_was_not_tested() -> None:
    rows = summary(trials(BASE), trials(CLEAR, schedule="cosine"), trials(VAGUE, l2=0.1), trials(CLEAR[:4], l2=0.2))
    text = render(rows, "text", width=1000)
    cells = [line.split("  ") for line in text.splitlines() if line.startswith("torch")]
    found = [next(cell.strip() for cell in line if cell.strip().startswith(("base", "+", "-"))) for line in cells]
    assert found[0] == "base" and found[3] == "-2.00 [-2.09, -1.91]"
    assert found[1].startswith("+0.06 [") and found[1].endswith("]=")
    assert found[2].startswith("-2.00 [") and found[2].endswith("]?")
    assert "over base: points of accuracy over the study's base, torch ffn:64: " in text and "? not tested" in text
    assert "over base" not in render(summarize(frame(*trials(BASE), *trials(VAGUE, l2=0.1))), "text", width=1000)


def test_rows_are_named_by_what_they_differ_in_from_the_base() -> None:
    changed = trials(CLEAR, schedule="cosine", learning_rate=0.1), trials(VAGUE, l2=0.1)
    names = row_names(summary(trials(BASE), *changed))
    assert names == ["torch ffn:64", "torch ffn:64 (l2 0.1)", "torch ffn:64 (lr 0.1, schedule cosine)"]
    assert row_names(summarize(frame(*trials(BASE), *changed[0])))[0] == "torch ffn:64 (lr 0.001, schedule constant)"


def made_of(networks: dict[str, tuple[float, ...]], folder: Path) -> Results:
    """Return a run of networks with these accuracies, of which the first is the base."""
    there = [
        record(name, seed, test_accuracy=value)
        for name, values in networks.items()
        for seed, value in enumerate(values)
    ]
    return Results(made_up(folder, there, base=[one["key"] for one in there[: len(BASE)]]))


def test_the_answer_says_which_changes_made_a_difference(tmp_path: Path) -> None:
    networks = {"ffn:4": BASE, "ffn:2": CLEAR, "ffn:5": VAGUE}
    said = "Of 2 changes to the study's base (torch ffn:4) that could be tested, 1 can be told from no change: torch ffn:2 (-2.00"
    assert said in paragraph(made_of(networks, tmp_path))


@pytest.mark.parametrize("at_chance", ["ffn:4", "ffn:2"])
def test_the_answer_tells_of_a_base_or_a_change_at_chance(at_chance: str, tmp_path: Path) -> None:
    nothing = (0.11, 0.12, 0.10, 0.13, 0.09)
    networks = {"ffn:4": BASE, "ffn:2": CLEAR} | {at_chance: nothing}
    points = "+84.20" if at_chance == "ffn:4" else "-86.20"
    assert f"1 can be told from no change: torch ffn:2 ({points} points)." in paragraph(made_of(networks, tmp_path))


FILE = """{"question": "Does it matter?", "against_base": true,
"base": {"backend": "fake", "dataset": "digits", "rows": 300, "seeds": 3, "architecture": %s,
         "training": {"epochs": 1, "optimizer": "sgd", "learning_rate": 0.5}},
"grids": [{}, {"training": {"learning_rate": 0.0001}}]%s}"""


def a_study(folder: Path, architecture: str = '"ffn:1"', more: str = "") -> Path:
    file = folder / "mine.json"
    file.write_text(FILE % (architecture, more), encoding="utf-8")
    return file


def test_a_study_file_asks_for_it(tmp_path: Path) -> None:
    ran = call("--study", a_study(tmp_path), "--results", tmp_path / "results")
    assert ran.status == 0 and "over the study's base, fake ffn:1:" in " ".join(ran.out.split()), ran.err
    again = call("table", the_run(tmp_path / "results"), "--format", "csv")
    rows = pd.read_csv(io.StringIO(again.out)).set_index("learning_rate")
    assert rows.loc[0.5, "against_base"] == "base"
    expected = rows.loc[0.0001, "test_accuracy_mean"] - rows.loc[0.5, "test_accuracy_mean"]
    assert rows.loc[0.0001, "over_base"] == pytest.approx(expected) and expected < -0.1


SEVERAL = '["ffn:1", "ffn:2"]'


def test_a_base_of_several_configurations_is_refused_unless_the_command_line_leaves_one(tmp_path: Path) -> None:
    file = a_study(tmp_path, SEVERAL)
    refused = call("--study", file, "--results", tmp_path / "results")
    assert refused.status == 2 and not (tmp_path / "results").exists()
    assert refused.err.startswith("compare.py: against_base: architecture has more than one value in the first grid")
    ran = call("--study", file, "--arch", "ffn:3", "--results", tmp_path / "results")
    assert ran.status == 0 and "over the study's base, fake ffn:3:" in " ".join(ran.out.split()), ran.err


def test_a_base_that_the_command_line_leaves_out_is_none() -> None:
    fields = {"question": "?", "against_base": True, "base": {"dataset": "digits", "architecture": "ffn:4"}}
    grids = [{"backend": "sklearn"}, {"backend": "keras", "engine": ["tensorflow", "jax"]}]
    study = studies.read({**fields, "grids": grids})
    for over in ({"backend": ["keras"]}, {"engine": ["jax"]}):
        plan = studies.plan(study, over, backends.vocabulary(), None, {})
        assert plan.trials and not plan.base
    plan = studies.plan(study, {}, backends.vocabulary(), None, {})
    assert plan.base == [trial.key for trial in plan.trials if trial.backend == "sklearn"]


def test_a_search_has_no_base(tmp_path: Path) -> None:
    more = ', "search": {"budget": {"trials": 2}, "space": {"training": {"learning_rate": [0.1, 0.2]}}}'
    refused = call("tune", a_study(tmp_path, more=more), "--results", tmp_path / "results")
    assert refused.status == 2 and "against_base: a search has contenders and no base" in refused.err
