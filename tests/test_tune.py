"""compare.py tune: the same search for every contender, by validation figures alone, resumed, then tested once."""

from __future__ import annotations

import json
import shutil
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import backends
from common import data, studies
from common.inputs import cut, load_inputs
from common.report import details
from common.results import Results
from common.store import Run
from common.tune import contenders
from config import Budget, Trial
from tests.command import (
    Outcome,
    assert_said_in_one_line,
    call,
    record_paths,
    records,
    started,
    the_run,
    workers_marked,
)
from tests.fake_backend import registered

BASE = {
    "backend": ["fake", "fake_engines"],
    "dataset": "digits",
    "rows": 400,
    "training": {"epochs": 4, "batch_size": 32, "optimizer": "sgd", "early_stopping_patience": None},
}
SPACE = {
    "architecture": "ffn:{width}",
    "width": {"low": 1, "high": 64},
    "training": {"learning_rate": {"low": 0.0001, "high": 1.0, "log": True}, "batch_size": [16, 32]},
}


def written(folder: Path, base: dict[str, Any] | None = None, **search: Any) -> Path:
    """Write a study with a search: of the fake on 400 digits, 6 candidates, 2 seeds, and whatever else is given."""
    block = {"space": SPACE, "budget": {"trials": 6}, "seeds": 2, **search}
    path = folder / "search.json"
    path.write_text(json.dumps({"question": "Which?", "base": {**BASE, **(base or {})}, "search": block}), "utf-8")
    return path


def tune(*argv: object) -> Outcome:
    return call("tune", *argv, "--threads", 1, "--no-report")


def table(results: Path) -> pd.DataFrame:
    return pd.read_csv(the_run(results) / "tables" / "search.csv")


def searched(results: Path) -> list[dict[str, Any]]:
    return [record for record in records(results) if record.get("scored_on") == "validation"]


def finals(results: Path) -> list[dict[str, Any]]:
    return [record for record in records(results) if record.get("scored_on") is None]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("plain")
    outcome = tune(written(folder), "--results", folder / "results")
    assert outcome.status == 0, outcome.err
    return folder / "results", outcome


def test_every_contender_gets_the_same_search(plain: tuple[Path, Outcome]) -> None:
    found = table(plain[0])
    asked = [
        group.drop(columns=["contender", "key"]).filter(regex="number|state|width|training|val_").reset_index(drop=True)
        for _, group in found.groupby("contender", sort=False)
    ]
    assert list(found["contender"].unique()) == ["fake", "fake_engines/a"]
    assert len(asked[0]) == 6
    pd.testing.assert_frame_equal(*asked)


def test_the_best_by_validation_is_tested_over_fresh_seeds_of_one_split(plain: tuple[Path, Outcome]) -> None:
    results, outcome = plain
    found_finals = finals(results)
    assert sorted((record["backend"], record["seed"]) for record in found_finals) == [
        ("fake", 1), ("fake", 2), ("fake_engines", 1), ("fake_engines", 2),
    ]  # fmt: skip
    found = table(results)
    best = found[found["contender"] == "fake"].sort_values(["val_accuracy", "val_log_loss"], ascending=[False, True])
    chosen = next(record for record in found_finals if record["backend"] == "fake")
    assert chosen["learning_rate"] == best["training.learning_rate"].iloc[0]
    assert chosen["architecture"] == f"ffn:{best['width'].iloc[0]}"
    index = [np.load(path) for path in (the_run(results)).glob("trials/??/*/predictions.npz")]
    assert len(index) == len(found_finals), "a trial of the search kept predictions"
    assert all(np.array_equal(one["index"], index[0]["index"]) for one in index), "seeds differ in their test rows"
    assert all(record["test_accuracy"] is not None for record in found_finals)
    assert "95% interval" in outcome.out
    assert f"width {best['width'].iloc[0]}" in outcome.out


def test_each_trial_says_how_much_of_the_budget_is_spent(plain: tuple[Path, Outcome]) -> None:
    said = [line.partition("]")[0] for line in plain[1].err.splitlines() if " of validation in " in line]
    assert said == 2 * [f"[{at}/6 trials" for at in range(1, 7)]


def test_trials_of_a_search_are_records_without_any_figure_of_the_test_data(plain: tuple[Path, Outcome]) -> None:
    for record in searched(plain[0]):
        assert record["status"] == "ok"
        assert record["val_accuracy"] is not None
        assert [name for name, value in record.items() if name.startswith("test_") and value is not None] == []
        assert record["n_test"] is None


def test_processes_stay_warm_from_candidate_to_candidate(plain: tuple[Path, Outcome]) -> None:
    for backend in ("fake", "fake_engines"):
        assert len({record["settings"]["pid"] for record in searched(plain[0]) if record["backend"] == backend}) == 1


def test_a_finished_search_trains_nothing_and_says_the_same(plain: tuple[Path, Outcome]) -> None:
    results, outcome = plain
    before = {path: path.stat().st_mtime_ns for path in record_paths(results)}
    again = tune(written(results.parent), "--results", results)
    assert again.out == outcome.out
    assert {path: path.stat().st_mtime_ns for path in record_paths(results)} == before


def test_a_finished_search_stays_so_while_a_larger_budget_is_begun(plain: tuple[Path, Outcome], tmp_path: Path) -> None:
    results, mark = tmp_path / "results", uuid.uuid4().hex
    shutil.copytree(plain[0], results)
    before = call("table", the_run(results)).out
    command = ["tune", written(tmp_path), "--results", results, "--threads", 1, "--trials", 7]
    process = started(*command, faults={f"ffn:{width}": "hang" for width in range(1, 65)}, mark=mark)
    deadline = time.monotonic() + 120
    while not workers_marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert call("table", the_run(results)).out == before
    assert set(Results(Run(the_run(results))).charts) >= {"search-best", "search-history"}


def test_a_search_whose_record_was_set_aside_has_a_report_of_the_others(
    plain: tuple[Path, Outcome], tmp_path: Path
) -> None:
    shutil.copytree(the_run(plain[0]), tmp_path / "run")
    lost = searched(plain[0])[0]
    Run(tmp_path / "run").artefacts(lost["key"]).with_suffix(".json").unlink()
    shown = Results(Run(tmp_path / "run")).charts["search-history"].series
    assert sorted(len(one.x) for one in shown) == [5, 6]


def row_of_the_fake(results: Results, folder: Path) -> tuple[dict[str, Any], Path]:
    """Return a row of the page, and the file that its lines write."""
    row = next(row for row in details.details(results)["rows"] if row["spec"]["backend"] == "fake")
    text, _, line = row["command"].removeprefix("cat > again.json <<'END'\n").partition("\nEND\n")
    assert line == "python compare.py tune again.json"
    (folder / "again.json").write_text(text, encoding="utf-8")
    return row, folder / "again.json"


def test_the_page_says_the_search_that_found_a_row(plain: tuple[Path, Outcome], tmp_path: Path) -> None:
    results = Results(Run(the_run(plain[0])))
    study = studies.read(str(row_of_the_fake(results, tmp_path)[1]))
    assert study.search == studies.read({"question": "?", "search": results.study["search"]}).search
    with registered():
        (contender,) = contenders(study, {}, backends.vocabulary(), None, {}).trials
    assert contender.rows == BASE["rows"] and contender.training.optimizer == "sgd"
    results.study.pop("search")  # as of a run whose study.json is gone
    assert {row["command"] for row in details.details(results)["rows"]} == {None}


@pytest.mark.slow
def test_a_row_is_found_again_as_the_page_says(plain: tuple[Path, Outcome], tmp_path: Path) -> None:
    results = Results(Run(the_run(plain[0])))
    row, path = row_of_the_fake(results, tmp_path)
    assert tune(path, "--results", tmp_path / "results").status == 0
    again = {record["key"] for record in finals(tmp_path / "results")}
    assert again == {results.records[number]["key"] for number in row["trials"]}


@pytest.mark.parametrize(("fault", "least_s"), [("sigkill", 0.0), ("hang", 1.0)])
def test_a_trial_that_was_ended_costs_the_seconds_that_it_took(
    fault: str, least_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULTS", json.dumps({"ffn:1": fault}))
    path = written(tmp_path, {"backend": "fake", "architecture": "ffn:1"}, budget={"trials": 3, "seconds": 0.001},
                   space={"training": {"learning_rate": [0.1, 0.2]}})  # fmt: skip
    assert tune(path, "--results", tmp_path / "results", "--timeout", 1).status == 2
    (record,) = searched(tmp_path / "results")
    assert record["status"] == ("timeout" if fault == "hang" else "out_of_memory")
    assert least_s < record["trial_s"] < 60


@pytest.mark.slow
def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, {"backend": "fake"}, seeds=1)
    assert tune(path, "--results", tmp_path / "results", "--trials", 3).status == 0
    few, before = table(tmp_path / "results"), {path: path.stat().st_mtime_ns for path in record_paths(tmp_path)}
    assert tune(path, "--results", tmp_path / "results", "--trials", 5).status == 0
    many = table(tmp_path / "results")
    assert len(many) == 5
    pd.testing.assert_frame_equal(few, many[:3])
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_killed_and_run_again_it_goes_on_where_it_was(plain: tuple[Path, Outcome], tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = ["tune", written(tmp_path), "--results", results, "--threads", 1]
    for least in (2, 8, 13):  # in the first search, in the second, while testing
        process = started(*command, faults={}, mark=uuid.uuid4().hex)
        deadline = time.monotonic() + 120
        while len(record_paths(results)) < least and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(record_paths(results)) >= least
    before = {path: path.stat().st_mtime_ns for path in record_paths(results)}
    assert len(before) < 16, "it was over before it was killed"
    outcome = tune(written(tmp_path), "--results", results)
    assert outcome.status == 0, outcome.err
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a trial was trained twice"
    assert sorted(record["key"] for record in records(results)) == sorted(record["key"] for record in records(plain[0]))
    same = ["contender", "number", "state", "width", "training.learning_rate", "val_accuracy", "key"]
    pd.testing.assert_frame_equal(table(results)[same], table(plain[0])[same])


def test_a_test_set_that_would_tempt_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    X = rng.normal(size=(400, 5, 5)) + np.eye(25).reshape(25, 5, 5)[y] * 3
    np.savez(tmp_path / "tempting.npz", X=X.astype(np.float32), y=y)
    source = str(tmp_path / "tempting.npz")
    base = {"backend": "fake_tempting", "dataset": source, "rows": None, "features": {"scaling": "none"}}
    space = {"architecture": "ffn:{width}", "width": [7, 8], "training": {"learning_rate": [0.01, 0.1]}}
    path = written(tmp_path, base, space=space, budget={"trials": 12}, sampler="random")
    dataset = data.load(source, None)
    fields = {"backend": "fake", "architecture": "ffn:1", "data_sha256": dataset.sha256, "split_seed": 0}
    trial = Trial.model_validate({**fields, "features": {"scaling": "none"}})
    parts = load_inputs(trial, dataset)
    np.savez(tmp_path / "test.npz", inputs=parts.inputs["test"], labels=parts.labels["test"])
    monkeypatch.setenv("FAKE_TEST", str(tmp_path / "test.npz"))
    grid = tmp_path / "grid.json"
    networks = {**BASE, **base, "architecture": ["ffn:7", "ffn:8"]}
    grid.write_text(json.dumps({"question": "Which would tempt?", "base": networks}), "utf-8")
    run = call("--study", grid, "--results", tmp_path / "grid", "--threads", 1)
    assert run.status == 0, run.err
    by_test = max(records(tmp_path / "grid"), key=lambda record: record["test_accuracy"])
    assert (by_test["architecture"], by_test["test_accuracy"]) == ("ffn:7", 1), "nothing tempts"
    (tmp_path / "seen").unlink()
    outcome = tune(path, "--results", tmp_path / "results")
    assert outcome.status == 0, outcome.err
    widths = set(table(tmp_path / "results")["width"])
    assert widths == {7, 8}, "the one that tempts was not among them"
    assert {record["architecture"] for record in finals(tmp_path / "results")} == {"ffn:8"}
    looks = (tmp_path / "seen").read_text().split()
    assert set(looks) == {"ffn:8"}, "a test row was predicted before the winner was chosen"


@pytest.mark.slow
def test_a_rung_gives_up_what_is_worse_than_the_median(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"backend": "fake"}, rungs=[1, 2], pruner="median", budget={"trials": 16}, sampler="random"
    )
    assert tune(path, "--results", tmp_path / "results").status == 0
    found = table(tmp_path / "results")
    assert set(found["state"]) == {"complete", "pruned"}
    assert set(found[found["state"] == "complete"]["epochs"]) == {4}
    assert set(found[found["state"] == "pruned"]["epochs"]) <= {1, 2}
    whole = found[found["state"] == "complete"]["val_accuracy"]
    assert found[found["state"] == "pruned"]["val_accuracy"].mean() < whole.mean()
    assert {record["max_epochs"] for record in searched(tmp_path / "results")} == {1, 2, 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "least"), [({"epochs": 10}, 3), ({"seconds": 0.001}, 1), ({"trials": 9, "epochs": 7}, 2)]
)
def test_a_search_ends_when_the_first_of_its_budget_is_spent(
    tmp_path: Path, budget: dict[str, Any], least: int
) -> None:
    path = written(tmp_path, {"backend": "fake"}, budget=budget)
    assert tune(path, "--results", tmp_path / "results").status == 0
    assert len(table(tmp_path / "results")) == least


@pytest.mark.slow
def test_of_several_objectives_the_unbeaten_are_tested(tmp_path: Path) -> None:
    sizes = {"input_size": {"low": 2, "high": 8}}
    space = {"architecture": ["ffn:1"], "features": sizes, "training": {"learning_rate": [0.01, 0.5]}}
    path = written(tmp_path, {"backend": "fake"}, space=space, objectives=["val_accuracy", "parameters"],
                   budget={"trials": 12})  # fmt: skip
    outcome = tune(path, "--results", tmp_path / "results")
    assert outcome.status == 0, outcome.err
    found = table(tmp_path / "results")
    points = set(zip(found["val_accuracy"], found["parameters"], strict=True))
    front = {
        (accuracy, size)
        for accuracy, size in points
        if not any(a >= accuracy and p <= size and (a, p) != (accuracy, size) for a, p in points)
    }
    assert len(front) > 1
    assert {record["parameters"] for record in finals(tmp_path / "results")} == {size for _, size in front}


def test_a_combination_that_is_none_counts_and_the_search_goes_on(tmp_path: Path) -> None:
    training = {"optimizer": ["sgd", "adam"], "momentum": [0.0, 0.9], "learning_rate": [0.01, 0.1]}
    path = written(tmp_path, {"backend": "fake"}, space={"architecture": ["ffn:1"], "training": training},
                   budget={"trials": 12}, sampler="random")  # fmt: skip
    outcome = tune(path, "--results", tmp_path / "results")
    assert outcome.status == 0, outcome.err
    found = table(tmp_path / "results")
    bad = (found["training.optimizer"] == "adam") & (found["training.momentum"] == 0.9)
    assert 0 < bad.sum() < 12
    assert (found[bad]["state"] == "failed").all()
    assert found[bad]["reason"].str.contains("momentum and nesterov are sgd's").all()
    assert len(found) == 12


def test_a_contender_that_cannot_be_is_said_and_the_others_are_tested(tmp_path: Path) -> None:
    networks = ["ffn:1", {"name": "ffn:2", "dropout": 0.5}]
    path = written(tmp_path, {"backend": "fake", "architecture": networks}, budget={"trials": 2}, seeds=1,
                   space={"training": {"learning_rate": [0.1, 0.2]}})  # fmt: skip
    outcome = tune(path, "--results", tmp_path / "results")
    assert outcome.status == 1
    assert "no candidate of fake ffn:2+dropout=0.5 ended well: the fake has no dropout" in outcome.out
    assert {record["architecture"] for record in finals(tmp_path / "results")} == {"ffn:1"}


def test_a_search_of_which_nothing_ends_well_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULTS", json.dumps({"ffn:1": "exception"}))
    path = written(tmp_path, {"backend": "fake", "architecture": "ffn:1"}, budget={"trials": 2},
                   space={"training": {"learning_rate": [0.1, 0.2]}})  # fmt: skip
    outcome = tune(path, "--results", tmp_path / "results")
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1] == (
        "compare.py: search: no candidate of fake ffn:1 ended well: RuntimeError: the fake broke"
    )


def test_failures_that_cost_nothing_end_too(tmp_path: Path) -> None:
    space = {"training": {"learning_rate": {"low": 0.001, "high": 0.1}, "optimizer": ["adamw"]}}
    path = written(tmp_path, {"backend": "fake", "architecture": "ffn:8"}, space=space, budget={"seconds": 60})
    outcome = tune(path, "--results", tmp_path / "results")
    assert outcome.status == 2 and "search: no candidate of fake ffn:8 ended well" in outcome.err
    assert len(table(tmp_path / "results")) == 20


def test_a_flag_takes_its_field_out_of_the_search(tmp_path: Path) -> None:
    path = written(tmp_path, {"backend": "fake"})
    outcome = tune(path, "--results", tmp_path / "results", "--arch", "ffn:3", "--learning-rate", 0.1, "--trials", 2)
    assert outcome.status == 0, outcome.err
    assert {(one["architecture"], one["learning_rate"]) for one in searched(tmp_path / "results")} == {("ffn:3", 0.1)}
    assert "width" not in table(tmp_path / "results").columns


MISTAKES = [
    ({"space": {"architecture": "ffn:{size}", "width": [1]}}, "search.space: {size} stands in a text, and is not in"),
    *(
        ({"space": {"architecture": text, "layers": [1, 2]}}, f"search: space has {text!r}; braces hold a name each")
        for text in ("ffn:{layers", "ffn:{}", "{layers:q}", "ffn:{layers.real}", "ffn:{layers!z}")
    ),
    ({"space": {"architecture": ["ffn:1"], "width": [1, 2]}}, "width: is not a known field"),
    ({"space": {"architecture": ["ffn:1", "fnn:2"]}}, "'fnn:2' is code"),
    (
        {"space": {"architecture": ["ffn:1"], "training": {"batch_size": {"low": 9, "high": 3}}}},
        "low must be the smaller",
    ),
    ({"space": {"architecture": ["ffn:1"], "training": {"l2": {"low": 0, "high": 3, "log": True}}}}, "log needs a low"),
    ({"space": {"architecture": "ffn:3"}}, "search: space has nothing to search"),
    ({"space": {"architecture": []}}, "search: space has an empty list"),
    ({"objectives": ["val_accuracy", "parameters"], "pruner": "median", "rungs": [1]}, "cannot be pruned by one"),
    ({"rungs": [1]}, "rungs and a pruner go together"),
    ({"objectives": ["test_accuracy"]}, "search.objectives.0: found 'test_accuracy'"),
    ({"budget": {}}, "search.budget: needs trials, seconds or epochs"),
    ({"sampler": "tep"}, "did you mean 'tpe'?"),
]


@pytest.mark.parametrize(("search", "message"), MISTAKES)
def test_a_mistake_is_said_in_a_line(tmp_path: Path, search: dict[str, Any], message: str) -> None:
    outcome = tune(written(tmp_path, **search), "--results", tmp_path / "results")
    assert outcome.status == 2
    assert message in outcome.err
    assert all(line.startswith("compare.py: ") for line in outcome.err.splitlines())
    assert not (tmp_path / "results").exists()


def test_more_seeds_than_a_search_may_test_are_a_mistake(tmp_path: Path) -> None:
    outcome = tune(written(tmp_path), "--results", tmp_path / "results", "--seeds", 10**11)
    assert_said_in_one_line(outcome.status, outcome.out, outcome.err, ("search.seeds: found 100000000000",))
    assert not (tmp_path / "results").exists()


def test_a_study_is_run_and_a_search_is_tuned(tmp_path: Path) -> None:
    outcome = tune("quick", "--results", tmp_path / "results")
    assert outcome.status == 2
    assert "study: quick has no search; give it to compare.py --study" in outcome.err
    outcome = call("--study", written(tmp_path), "--results", tmp_path / "results")
    assert outcome.status == 2
    assert "study: search is a search; give it to compare.py tune" in outcome.err
    outcome = tune(written(tmp_path, {"protocol": ["matched", "native"]}), "--results", tmp_path / "results")
    assert outcome.status == 2
    assert "there are 2 contenders fake; of a study with a search" in outcome.err
    for name, value in (("scored_on", "validation"), ("split_seed", 1)):
        outcome = tune(written(tmp_path, {name: value}), "--results", tmp_path / "results")
        assert outcome.status == 2
        assert f"{name}: is set by compare.py tune alone" in outcome.err
    assert not (tmp_path / "results").exists()


def test_keys_of_other_trials_know_nothing_of_searches() -> None:
    trial = Trial.model_validate({"backend": "torch", "architecture": "ffn:64"})
    assert not {"split_seed", "scored_on"} & {*json.loads(trial.canonical()), *trial.flat()}
    assert trial.key == "92d5c393576d65ea79e6318a5e21f4db4a885af36f5ce2c6d4f10fa7ebfe4f03"
    other = trial.model_copy(update={"split_seed": 0})
    assert other.key != trial.key
    assert Trial.model_validate_json(other.canonical()) == other


def test_seeds_share_the_rows_of_a_split_seed() -> None:
    digits = data.load("digits")
    fields = {"backend": "torch", "architecture": "ffn:64", "data_sha256": digits.sha256}
    rows = [cut(Trial.model_validate({**fields, "seed": seed, "split_seed": 3}), digits) for seed in (3, 4)]
    own = [cut(Trial.model_validate({**fields, "seed": seed}), digits) for seed in (3, 4)]
    assert np.array_equal(rows[0].test, rows[1].test)
    assert np.array_equal(rows[0].test, own[0].test)
    assert not np.array_equal(own[0].test, own[1].test)


@pytest.mark.slow
def test_the_report_has_the_search_in_four_charts(plain: tuple[Path, Outcome]) -> None:
    run = Run(next(run for run in plain[0].iterdir() if len(pd.read_csv(run / "tables" / "search.csv")) == 12))
    results = Results(run)
    found = {name: chart for name, chart in results.charts.items() if name.startswith("search-")}
    assert set(found) == {"search-best", "search-history", "search-importance"}
    for one in found["search-best"].series:
        assert list(one.y) == sorted(one.y)
        assert list(one.x) == sorted(one.x)
    for one in found["search-history"].series:
        rows = pd.read_csv(run.directory / "tables" / "search.csv")
        rows = rows[rows["contender"] == one.label]
        assert list(one.y) == pytest.approx(100 * rows["val_accuracy"])
    for one in found["search-importance"].series:
        assert set(one.y) == {"width", "learning_rate", "batch_size"}
        assert sum(map(float, one.x)) == pytest.approx(1)
    outcome = call("report", run.directory, "--results", plain[0])
    assert outcome.status == 0, outcome.err
    assert (run.directory / "plots" / "search-parallel.png").stat().st_size > 10_000
    assert "the best so far against what was spent" in str(results.charts["search-best"].title)


def test_a_trial_of_a_search_is_not_exported(plain: tuple[Path, Outcome]) -> None:
    key = searched(plain[0])[0]["key"]
    outcome = call("export", key, "--results", plain[0])
    assert outcome.status == 2
    assert "it is of a search, and was never tested" in outcome.err


def test_budget_is_finite() -> None:
    with pytest.raises(ValueError, match="needs trials, seconds or epochs"):
        Budget()
