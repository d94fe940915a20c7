"""Rankings and recommendations, against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from test_tables import failed, frame, realistic, trial

from common.ranking import DEFAULT_WEIGHTS, parse_weights, rank, recommend
from common.summary import summarize
from common.tables import render_ranking
from config import UserError


def test_weights_are_read_and_every_mistake_is_said() -> None:
    assert parse_weights("test_accuracy=0.4, fit_s=2") == {"test_accuracy": 0.4, "fit_s": 2.0}
    with pytest.raises(UserError) as caught:
        parse_weights("fit=1,parameters=x,energy_j=-1,fit_s=1,fit_s=2,model_bytes")
    lines = str(caught.value).splitlines()
    assert len(lines) == 5 and "did you mean 'fit_s'?" in lines[0] and "given twice" in lines[3]
    with pytest.raises(UserError, match="all weights are 0"):
        parse_weights("fit_s=0")


def test_a_ranking_by_hand() -> None:
    records = frame(
        trial(architecture="a", test_accuracy=0.90, fit_s=1.0),
        trial(architecture="b", test_accuracy=0.95, fit_s=10.0),
        trial(architecture="c", test_accuracy=0.98, fit_s=100.0),
    )
    ranking = rank(summarize(records), {"test_accuracy": 3.0, "fit_s": 1.0}).set_index("architecture")
    # b: accuracy 0.05 / 0.08 = 0.625 on a linear scale, time 1/2 on a logarithmic one: (3 * 0.625 + 0.5) / 4
    assert ranking.loc["b", "score"] == pytest.approx(0.59375)
    assert ranking["rank"].to_dict() == {"c": 1, "b": 2, "a": 3}
    assert ranking.loc["a", "score"] == pytest.approx(0.25)


def test_a_ranking_compares_only_what_is_alike() -> None:
    records = frame(
        trial(architecture="a"), trial(architecture="b", fit_s=30.0), trial(architecture="busy", contended=True),
        trial(architecture="bare", peak_memory_mb=None), trial(architecture="lost", test_accuracy=0.1),
        trial(architecture="b", train_share=0.6, fit_s=1.0), failed("failed", "x", architecture="dead"),
    )  # fmt: skip
    ranking = rank(summarize(records), DEFAULT_WEIGHTS)
    reasons = ranking.set_index("architecture")["reason"].dropna().to_dict()
    assert reasons == {"busy": "timed while other trials ran", "bare": "no figure for peak_memory_mb",
                       "lost": "stayed at chance"}  # fmt: skip
    assert "dead" not in set(ranking["architecture"])
    wide = ranking[ranking["train_share"] == 0.8]
    assert list(wide["architecture"])[:2] == ["b", "a"] and list(wide["rank"])[:2] == [1, 2]
    assert list(ranking[ranking["train_share"] == 0.6]["rank"]) == [1]
    assert "busy: timed while" in render_ranking(ranking, "text")


def test_energy_of_two_kinds_and_figures_nobody_has_drop_out() -> None:
    records = frame(trial(architecture="a", energy_j=1.0, energy_method="measured: RAPL", peak_memory_mb=None),
                    trial(architecture="b", energy_j=9.0, peak_memory_mb=None))  # fmt: skip
    ranking = rank(summarize(records), DEFAULT_WEIGHTS)
    assert list(ranking["rank"]) == [1, 1] and ranking["score_energy_j"].isna().all()
    assert "energy left out" in ranking["note"][0] and "peak_memory_mb left out" in ranking["note"][0]


def studied(values: dict[float, tuple[float, ...]], **changes: Any) -> pd.DataFrame:
    return frame(*(trial(learning_rate=rate, seed=seed, val_accuracy=value, test_accuracy=1 - value, **changes)
                   for rate, scores in values.items() for seed, value in enumerate(scores)))  # fmt: skip


def test_recommend_goes_by_validation_and_paired_differences() -> None:
    # the seeds move all settings together: unpaired, 0.1 would overlap with 0.01; paired, it is clearly worse
    records = studied({0.01: (0.90, 0.94, 0.98), 0.1: (0.88, 0.921, 0.961), 0.001: (0.91, 0.90, 0.97)})
    text = recommend(summarize(records), records, "learning_rate")
    assert text == (
        "torch, ffn:64: best on validation is learning_rate 0.01, accuracy 94.00% [84.06%, 100.00%] over 3 seeds. "
        "Not to be told apart from it: learning_rate 0.001. Fewer than 5 seeds support no claim."
    )


def test_recommend_is_not_sure_of_a_few_equal_differences() -> None:
    few = studied({0.01: (0.90, 0.94), 0.1: (0.875, 0.915)})
    assert "Not to be told apart from it: learning_rate 0.1" in recommend(summarize(few), few, "learning_rate")
    many = studied({0.01: (0.875,) * 6, 0.1: (0.75,) * 6})
    assert "All others are worse by more than seeds explain." in recommend(summarize(many), many, "learning_rate")


def test_recommend_speaks_for_each_backend_and_refuses_unknown_columns() -> None:
    records = realistic()
    lines = recommend(summarize(records), records, "architecture,train_share").splitlines()
    assert [line.split(":")[0] for line in lines] == ["keras/tensorflow", "sklearn", "torch"]
    assert "Without a result: architecture ffn:64+dropout=0.2, train_share 0.6" in lines[1]
    with pytest.raises(UserError, match="did you mean 'learning_rate'"):
        recommend(summarize(records), records, "learning_rat")
