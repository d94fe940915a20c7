"""The pairwise report, and ranks over data sets, against cases whose answer is known."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import stats
from test_tables import frame, row_of, trial

from common import friedman, pairs, verdicts
from common.summary import summarize
from common.tables import render
from config import UserError

NOWHERE = Path("/nonexistent")


def report(records: pd.DataFrame, sides: str, format: Any = "text", artefacts: Any = lambda key: NOWHERE) -> str:
    first, second = pairs.parse_sides(sides, records)
    return verdicts.render_pairs(pairs.compare(records, first, second, artefacts), first, second, format)


def lines(records: pd.DataFrame, sides: str, artefacts: Any = lambda key: NOWHERE) -> dict[tuple[Any, str], pairs.Line]:
    found = pairs.compare(records, *pairs.parse_sides(sides, records), artefacts)
    return {(line.where, line.quantity.column): line for line in found}


def two_backends(seeds: int, **changes: Any) -> pd.DataFrame:
    """PyTorch is 1 point worse with a spread of 0.1, and takes half the time with a spread of 2%."""
    luck = np.random.default_rng(0).normal(size=(3, seeds))
    rows = []
    for seed in range(seeds):
        score, slow = 0.95 + 0.01 * luck[0, seed], 20 * math.exp(0.3 * luck[2, seed])
        worse, fast = score - 0.01 + 0.001 * luck[1, seed], slow / 2 * math.exp(0.02 * luck[1, seed])
        rows += [
            trial(backend="sklearn", seed=seed, test_accuracy=score, fit_s=slow),
            trial(backend="torch", seed=seed, test_accuracy=worse, fit_s=fast, **changes),
        ]
    return frame(*rows)


def test_sides_are_cut_where_both_are_known() -> None:
    records = frame(
        *(trial(backend="keras", engine=engine) for engine in ("jax", "torch")),
        *(trial(architecture=name) for name in ("ffn:64", "ffn:128-64", "ffn:64:tanh", "ffn", "64:ffn:64")),
    )

    def read(text: str) -> tuple[str, str]:
        first, second = pairs.parse_sides(text, records)
        return first.name, second.name

    assert read("keras/jax:torch") == ("keras/jax", "torch")
    assert read("ffn:64:ffn:128-64") == ("ffn:64", "ffn:128-64")
    assert read("ffn:64:tanh:ffn:64") == ("ffn:64:tanh", "ffn:64")
    with pytest.raises(UserError, match="can be read as 'ffn' and '64:ffn' or 'ffn:64' and 'ffn'"):
        pairs.parse_sides("ffn:64:ffn", frame(*(trial(architecture=name) for name in ("ffn", "64:ffn", "ffn:64"))))
    for wrong in ("keras/jx:torch", "torch", "torch:torch", "torch:ffn:64", "keras:torch", ""):
        with pytest.raises(
            UserError, match="backends: keras/jax, keras/torch, torch; architectures: ffn:64, ffn:128-64"
        ):
            pairs.parse_sides(wrong, records)
    with pytest.raises(UserError, match="did you mean 'keras/jax:torch'"):
        pairs.parse_sides("keras/jx:torch", records)
    one = frame(trial(backend="keras", engine="jax"), trial(backend="torch"))
    assert pairs.parse_sides("keras:torch", one)[0].name == "keras/jax"


def test_figures_are_paired_by_seed_and_agree_with_scipy() -> None:
    records = two_backends(8).sample(frac=1, random_state=0)
    found = lines(records, "sklearn:torch")
    by_seed = records.pivot(index="seed", columns="backend", values=["test_accuracy", "fit_s"])
    a, b = (by_seed["test_accuracy"][name].astype(float) for name in ("sklearn", "torch"))
    accuracy, fit = found["ffn:64, 80/20", "test_accuracy"], found["ffn:64, 80/20", "fit_s"]
    paired = stats.ttest_rel(a, b)
    assert accuracy.p == pytest.approx(float(paired.pvalue), rel=1e-6)
    assert accuracy.effect.low == pytest.approx(paired.confidence_interval().low, rel=1e-6)
    assert accuracy.wilcoxon_p == accuracy.wilcoxon_least_p == 2**-7 and accuracy.beats.value == 1
    ratios = sorted((by_seed["fit_s"]["sklearn"] / by_seed["fit_s"]["torch"]).astype(float))
    assert fit.effect.value == pytest.approx((ratios[3] + ratios[4]) / 2)
    assert (fit.effect.low, fit.effect.high) == pytest.approx((ratios[0], ratios[7]))
    text = report(records, "sklearn:torch")
    assert (
        "accuracy %: sklearn is better: the difference is 1.0" in text and "fit s: torch is better: the ratio" in text
    )
    assert "nan" not in text.lower()
    swapped = lines(records, "torch:sklearn")["ffn:64, 80/20", "test_accuracy"]
    assert swapped.effect.value == pytest.approx(-accuracy.effect.value)  # type: ignore[operator]


def test_what_cannot_be_told_apart_says_how_many_seeds_would_be_needed() -> None:
    scores = {"sklearn": (0.95, 0.96, 0.97, 0.94, 0.95), "torch": (0.951, 0.958, 0.971, 0.941, 0.949)}
    records = frame(*(trial(backend=name, seed=seed, test_accuracy=score)
                      for name, values in scores.items() for seed, score in enumerate(values)))  # fmt: skip
    # differences -0.1 0.2 -0.1 -0.1 0.1 points: mean 0, sd 0.1414, t(0.975, 4) = 2.776: 0.1756
    # n for d = 0.1 / 0.1414: 18
    assert ("accuracy %: cannot be told apart: the difference is 0.00 points, interval [-0.18, 0.18]; 18 seeds would be "
            "needed to see a difference of 0.10 points.") in report(records, "sklearn:torch").replace("\n  ", " ")  # fmt: skip
    few = report(records[records["seed"] < 3], "sklearn:torch").replace("\n  ", " ")
    assert "accuracy %: 3 pairs support no claim: the difference" in few
    one = report(records[records["seed"] < 1], "sklearn:torch").replace("\n  ", " ")
    assert "of one pair the spread is unknown" in one


def test_an_interval_that_leaves_out_nothing_does_not_contradict_the_verdict() -> None:
    scores = {"sklearn": (0.95, 0.96, 0.97, 0.94, 0.95), "torch": (0.93, 0.955, 0.95, 0.936, 0.93)}
    records = frame(*(trial(backend=name, seed=seed, test_accuracy=score)
                      for name, values in scores.items() for seed, score in enumerate(values)))  # fmt: skip
    # paired t: p 0.022, of 6 figures or more
    text = " ".join(report(records, "sklearn:torch").split())
    assert "accuracy %: cannot be told apart once all figures here are judged together (Holm's p 0." in text
    assert "of this one alone: the difference is 1.38 points, interval [0.3" in text


@pytest.mark.filterwarnings("error")
def test_equal_pairs_are_said_without_nan() -> None:
    records = frame(*(trial(backend=name, seed=seed, test_accuracy=0.9 + seed / 100)
                      for name in ("sklearn", "torch") for seed in range(10)))  # fmt: skip
    text = report(records, "sklearn:torch")
    assert "accuracy %: equal in all 10 pairs." in text and "parameters: the same in both." in text
    assert "nan" not in text.lower() and "inf" not in text.lower()


def test_contended_times_and_energy_of_two_kinds_are_not_compared() -> None:
    contended = report(two_backends(6, contended=True), "sklearn:torch")
    assert "fit s: not compared: timed while other trials ran." in contended
    assert "accuracy %: sklearn is better" in contended
    kinds = report(two_backends(6, energy_method="measured: RAPL"), "sklearn:torch").replace("\n  ", " ")
    assert "energy J: not compared: found in different ways (estimated: CPU seconds x 15 W; measured: RAPL)." in kinds
    records = two_backends(8)
    records.loc[records["seed"] < 2, "contended"] = True
    assert lines(records, "sklearn:torch")["ffn:64, 80/20", "fit_s"].effect.n == 6


def test_times_of_unsteady_seeds_are_not_compared() -> None:
    records = two_backends(6)
    records.loc[(records["backend"] == "torch") & (records["seed"] == 3), "epoch_s"] *= 2.5
    text = report(records, "sklearn:torch").replace("\n  ", " ")
    for figure in ("fit s", "epoch s", "latency ms", "samples/s", "energy J"):
        assert f"{figure}: not compared: the same work took one seed more than 2 times as long as another." in text
    assert "accuracy %: sklearn is better" in text and "peak MB: not compared" not in text
    records.loc[records["seed"] == 3, "contended"] = True
    assert lines(records, "sklearn:torch")["ffn:64, 80/20", "fit_s"].effect.n == 5, "that seed's times do not count"


def test_a_few_equal_differences_have_no_interval() -> None:
    records = frame(*(trial(backend=name, seed=seed, test_accuracy=0.9 + seed / 100 - (name == "torch") / 100)
                      for name in ("sklearn", "torch") for seed in range(5)))  # fmt: skip
    line = lines(records, "sklearn:torch")["ffn:64, 80/20", "test_accuracy"]
    assert line.p == 2.0**-4 and line.effect.value == pytest.approx(0.01) and line.effect.low is None
    assert "accuracy %: cannot be told apart: the difference is 1.00 points." in report(records, "sklearn:torch")


def test_settings_that_differ_are_never_paired() -> None:
    records = frame(trial(backend="sklearn"), trial(backend="torch", learning_rate=0.1))
    with pytest.raises(UserError, match="they differ in learning_rate"):
        lines(records, "sklearn:torch")
    with pytest.raises(UserError, match="same seed"):
        lines(frame(trial(backend="sklearn"), trial(backend="torch", seed=1)), "sklearn:torch")


def test_configurations_are_pooled_by_seed() -> None:
    small, large = two_backends(6), two_backends(6).assign(architecture="ffn:8")
    large.loc[large["backend"] == "torch", "test_accuracy"] -= 0.02
    found = lines(pd.concat([small, large]), "sklearn:torch")
    each = [found[f"{name}, 80/20", "test_accuracy"].effect.value for name in ("ffn:8", "ffn:64")]
    pooled = found[None, "test_accuracy"]
    assert pooled.effect.n == 6 and pooled.effect.value == pytest.approx(sum(each) / 2)  # type: ignore[arg-type]
    assert (None, "parameters") not in found and found[None, "fit_s"].first is None
    assert "all 2 configurations" in report(pd.concat([small, large]), "sklearn:torch")
    csv = pd.read_csv(io.StringIO(report(pd.concat([small, large]), "sklearn:torch", "csv")))
    tested = csv["p"].notna()
    assert tested.sum() > 15 and (csv["p_holm"][tested] >= csv["p"][tested]).all()
    assert csv["p_holm"].min() == pytest.approx(csv["p"].min() * tested.sum())


def test_the_networks_right_more_often_are_those_of_most_seeds(tmp_path: Path) -> None:
    records = two_backends(3)
    alone = {"sklearn": (300, 310, 100), "torch": (200, 205, 400)}
    for row in records.to_dict("records"):
        wrong = np.zeros(1000, dtype=int)
        first, second = (alone[name][row["seed"]] for name in ("sklearn", "torch"))
        wrong[slice(0, second) if row["backend"] == "sklearn" else slice(500, 500 + first)] = 1
        (tmp_path / row["key"]).mkdir()
        np.savez(tmp_path / row["key"] / "predictions.npz", index=np.arange(1000), label=wrong * 0, predicted=wrong)
    line = lines(records, "torch:sklearn", lambda key: tmp_path / key)["ffn:64, 80/20", "predictions.npz"]
    assert (line.first, line.second, line.favors_first) == (805, 710, False)
    text = report(records, "torch:sklearn", artefacts=lambda key: tmp_path / key).replace("\n  ", " ")
    assert ("alone right: sklearn's trained networks are right more often with most seeds, though not over all of them "
            "added up (3 seeds") in text  # fmt: skip


def test_mcnemar_reads_the_predictions_seed_by_seed(tmp_path: Path) -> None:
    records = two_backends(5)
    index, label = np.arange(100, 300), np.zeros(200, dtype=int)
    for number, row in records.reset_index(drop=True).iterrows():
        folder = tmp_path / str(row["key"])
        folder.mkdir()
        wrong = np.zeros(200, dtype=int)
        wrong[: 2 if row["backend"] == "sklearn" else 22] = 1  # torch errs 20 times more, twice together
        order = np.random.default_rng(int(number)).permutation(200)  # rows are matched by index
        np.savez(folder / "predictions.npz", index=index[order], label=label, predicted=wrong[order])
    line = lines(records, "sklearn:torch", lambda key: tmp_path / key)["ffn:64, 80/20", "predictions.npz"]
    assert (line.first, line.second) == (100, 0)
    assert line.p == pytest.approx(stats.binomtest(0, 20).pvalue * 5 / 3)
    text = report(records, "sklearn:torch", artefacts=lambda key: tmp_path / key)
    assert "alone right: sklearn's trained networks are right more often (5 seeds)." in text


# Ranks over data sets


def demsar() -> pd.DataFrame:
    """Table 6 of Demsar (2006): AUC of C4.5 with and without tuning, 14 data sets; average ranks and CD are his."""
    return pd.DataFrame({
        "C4.5": [.763, .599, .954, .628, .882, .936, .661, .583, .775, 1.0, .940, .619, .972, .957],
        "+m": [.768, .591, .971, .661, .888, .931, .668, .583, .838, 1.0, .962, .666, .981, .978],
        "+cf": [.771, .590, .968, .654, .886, .916, .609, .563, .866, 1.0, .965, .614, .9751, .946],
        "+m+cf": [.798, .569, .967, .657, .898, .931, .685, .625, .875, 1.0, .962, .669, .975, .970],
    })  # fmt: skip


def test_friedman_and_nemenyi_are_demsars() -> None:
    found = friedman.friedman(demsar())
    assert found.ranks.round(3).to_dict() == {"+m+cf": 1.964, "+m": 2.0, "+cf": 2.893, "C4.5": 3.143}
    assert friedman.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert friedman.critical_difference(4, 14, alpha=0.1) == pytest.approx(1.12, abs=0.005)
    assert found.statistic == pytest.approx(stats.friedmanchisquare(*demsar().to_numpy().T).statistic)
    assert found.cliques == (("+m+cf", "+m", "+cf", "C4.5"),)
    ps = friedman.nemenyi(demsar())
    assert ps.loc["C4.5", "+m+cf"] > 0.05 and ps.loc["C4.5", "+m+cf"] == pytest.approx(ps.loc["+m+cf", "C4.5"])


def test_nemenyi_and_the_critical_difference_agree() -> None:
    scores = pd.DataFrame(np.random.default_rng(1).normal((0, 0.5, 1, 2, 3), size=(12, 5)), columns=list("abcde"))
    found, ps = friedman.friedman(scores), friedman.nemenyi(scores)
    for a in scores:
        for b in scores:
            assert (abs(found.ranks[a] - found.ranks[b]) < found.critical_difference) == (ps.loc[a, b] > 0.05)
    lower = friedman.friedman(-scores, higher=False)
    assert lower.ranks.equals(found.ranks)


def test_cliques_are_the_largest_runs() -> None:
    ranks = pd.Series({"a": 1.0, "b": 1.5, "c": 2.4, "d": 3.1, "e": 5.0})
    assert friedman.cliques(ranks, 2.0) == (("a", "b", "c"), ("b", "c", "d"), ("d", "e"))
    assert friedman.cliques(ranks, 1.45) == (("a", "b", "c"), ("c", "d"))
    assert friedman.cliques(ranks, 0.1) == () and friedman.cliques(ranks, 9) == (tuple("abcde"),)


@pytest.mark.filterwarnings("error")
def test_ties_everywhere_and_too_little_data() -> None:
    tied = friedman.friedman(pd.DataFrame(np.ones((4, 3)), columns=list("abc")))
    assert (tied.statistic, tied.p, set(tied.ranks)) == (0.0, 1.0, {2.0})
    for shape in ((1, 3), (4, 2)):
        with pytest.raises(ValueError):
            friedman.friedman(pd.DataFrame(np.ones(shape)))


def many_data(names: str, architectures: tuple[str, ...]) -> pd.DataFrame:
    return frame(*(trial(dataset=name, data_sha256=name * 64, architecture=architecture, train_share=share,
                         test_accuracy=0.9 + at / 100 + share / 1000)
                   for name in names for at, architecture in enumerate(architectures)
                   for share in (0.6, 0.8)))  # fmt: skip


def test_a_table_of_several_data_sets_ranks_its_rows() -> None:
    records = many_data("abcdefgh", ("ffn:8", "ffn:16", "ffn:32"))
    text = render(summarize(records), "text").replace("\n  ", " ")
    assert "over 8 data sets (1 is best): torch ffn:32 1.00, torch ffn:16 2.00, torch ffn:8 3.00." in text
    assert "Friedman: chi-square 16.00, p <0.001: the ranks can be told apart" in text
    assert "not told apart by rank: torch ffn:32, torch ffn:16; torch ffn:16, torch ffn:8." in text
    few = render(summarize(many_data("ab", ("ffn:8", "ffn:16", "ffn:32"))), "text")
    assert "2 data sets are too few for 3 rows" in few
    assert "takes 3 configurations" in render(summarize(many_data("abc", ("ffn:8", "ffn:16"))), "text")
    assert "rank" not in render(summarize(many_data("a", ("ffn:8", "ffn:16", "ffn:32"))), "text")
    gone = records[
        ~((records["dataset"] == "a") & (records["architecture"] == "ffn:8") & (records["train_share"] < 0.7))
    ]
    assert "there are 2" in render(summarize(gone), "text").replace("\n  ", " ")


def test_draws_of_different_sizes_are_one_data_set() -> None:
    names = ("ffn:8", "ffn:16", "ffn:32")
    draws = [many_data("ab", names).assign(rows=rows) for rows in (1000, 2000, 5000)]
    small = pd.concat([draws[0].assign(test_accuracy=draws[0]["test_accuracy"] - 0.03), *draws[1:]])
    assert "over 2 data sets" in render(summarize(small), "text")
    scores = friedman.blocks(summarize(small))
    assert scores.shape == (2, 3) and scores["torch ffn:8"].tolist() == pytest.approx([0.8907, 0.8907])
    one = summarize(small[small["dataset"] == "a"])
    assert "average ranks" not in render(one, "text") and friedman.diagram(one) is None


def test_critical_difference_diagram_names_every_row() -> None:
    names = ("ffn:8", "ffn:16", "ffn:32", "ffn:64")
    drawn = friedman.diagram(summarize(many_data("abcdefgh", names)))
    assert drawn is not None
    texts = [text.get_text() for text in drawn.axes[0].findobj(Text)]
    assert all(any(f"torch {name}" in text for text in texts) for name in names)
    assert "over 8 data sets" in drawn.axes[0].get_title()
    assert friedman.diagram(summarize(many_data("a", names))) is None


def test_marks_in_the_table() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(6):
        luck = 0.97 + 0.01 * rng.normal()
        for name, shift in (("a", 0.0), ("b", -0.0001), ("c", -0.02)):
            rows.append(trial(architecture=name, seed=seed, test_accuracy=luck + shift + 0.001 * rng.normal()))
    rows.append(trial(architecture="d", test_accuracy=0.5))
    text = render(summarize(frame(*rows)), "text")
    cells = {name: row_of(text, f"torch    {name} ").split("[")[0].rstrip() for name in "abcd"}
    assert sorted(cell[-1] for cell in (cells["a"], cells["b"])) == ["*", "="]
    assert cells["c"][-1].isdigit() and "50.00?" in cells["d"]
    assert "= accuracy not distinguishable from the best" in text
    ahead = [trial(architecture="e", seed=seed, test_accuracy=0.99 + seed / 1000) for seed in range(3)]
    elsewhere = [{**row, "train_share": 0.6} for row in rows if row["architecture"] in "ab"]
    text = render(summarize(frame(*rows, *ahead, *elsewhere)), "text")
    cells = {name: row_of(text, f"torch    {name} ", "80/20").split("[")[0] for name in "abcde"}
    assert "99.10 ± 0.10*" in cells["e"], "the best has too few seeds for any other to be compared with it"
    assert all("?" in cells[name] for name in "abcd")
    assert "=" in row_of(text, "torch    a ", "60/40") + row_of(text, "torch    b ", "60/40")
    few = render(summarize(frame(*rows, *ahead)), "text").replace("\n  ", " ")
    assert "= accuracy" not in few and "that takes 5 seeds of the best and of another row" in few
    few = render(summarize(frame(*[row for row in rows if row["seed"] < 4])), "text").replace("\n  ", " ")
    assert "distinguishable from the best cannot be said: that takes 5 seeds" in few and "=" not in few
