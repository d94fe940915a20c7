"""Runs of the fake backend, end to end: faults kept in their own records, processes, resuming, what is written."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.store import to_json
from common.summary import MEMORY, TIMES
from tests.command import (
    Outcome,
    call,
    record_paths,
    records,
    started,
    study,
    the_run,
    workers_marked,
    workers_of_this_process,
)
from tests.fake_backend import FAULTS

CHANGING = [
    *TIMES,
    "epoch_s_spread",
    *MEMORY,
    "energy_j",
    "startup_s",
    "data_s",
    "save_s",
    "trial_s",
    "cpu_s",
    "settings",
]
"""Columns that two runs of the same trials do not share."""


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in CHANGING}


def tables(results: Path) -> list[pd.DataFrame]:
    """Return trials.csv and summary.csv without the columns of times and memory."""
    found = [pd.read_csv(the_run(results) / "tables" / f"{name}.csv") for name in ("trials", "summary")]
    return [table.drop(columns=[*CHANGING, "n_timed"], errors="ignore") for table in found]


def assert_same_tables(results: Path, others: Path) -> None:
    for table, other in zip(tables(results), tables(others), strict=True):
        pd.testing.assert_frame_equal(table, other)


def times_written(results: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in record_paths(results)}


def leftovers(results: Path) -> list[Path]:
    """Return what only an unfinished write leaves behind."""
    return [path for path in results.rglob("*") if path.name.startswith(".") or path.suffix in (".part", ".damaged")]


# Faults

BROKEN = {
    "ffn:1": ("crash", "failed", "its process ended with exit status 3"),
    "ffn:2": ("sigkill", "out_of_memory", "killed by the system (SIGKILL), as for lack of memory"),
    "ffn:3": ("hang", "timeout", "no result after 8 s"),
    "ffn:4": ("nan", "diverged", "the training loss was nan in epoch 1"),
    "ffn:5": ("exception", "failed", "RuntimeError: the fake broke"),
    "ffn:6": ("memory", "out_of_memory", "MemoryError: the fake wants more"),
    "ffn:7": ("words", "failed", "exit status 3; the last it printed: the last words of the fake"),
    "ffn:8": ("sigsegv", "failed", "its process ended with signal SIGSEGV"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Outcome]:
    """A run, two workers wide, with every fault, two sound trials, an unsupported one and a missing framework."""
    folder = tmp_path_factory.mktemp("broken")
    path = study(
        folder,
        architecture=[*BROKEN, "ffn:9", "ffn:10", {"name": "ffn:11", "dropout": 0.5}],
        grids=[{}, {"backend": "fake_missing", "architecture": "ffn:12"}],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAULTS, json.dumps({label: fault for label, (fault, _, _) in BROKEN.items()}))
        command = ["--study", path, "--results", folder / "results", "--timeout", 8, "--workers", 2, "--threads", 1]
        outcome = call(*command)
    return path, folder / "results", outcome


@pytest.mark.parametrize("label", BROKEN)
def test_fault_ends_in_its_own_record(broken: tuple[Path, Path, Outcome], label: str) -> None:
    _, results, outcome = broken
    (record,) = (record for record in records(results) if record["architecture"] == label)
    _, status, reason = BROKEN[label]
    assert record["status"] == status
    assert reason in record["error"]
    assert record["test_accuracy"] is None
    listed = [line for line in outcome.out.splitlines() if line.startswith(f"fake {label}: {status}")]
    assert len(listed) == 1
    assert reason in listed[0]
    progress = [line for line in outcome.err.splitlines() if f"fake {label}," in line]
    assert len(progress) == 1
    assert f"{status}: " in progress[0]
    assert reason in progress[0]


def test_other_trials_end_well_beside_faults(broken: tuple[Path, Path, Outcome]) -> None:
    _, results, outcome = broken
    by_label = {record["architecture"]: record for record in records(results)}
    assert len(by_label) == len(BROKEN) + 4
    assert [by_label[label]["status"] for label in ("ffn:9", "ffn:10")] == ["ok", "ok"]
    assert by_label["ffn:11+dropout=0.5"]["status"] == "unsupported"
    assert by_label["ffn:11+dropout=0.5"]["error"] == "the fake has no dropout"
    missing = by_label["ffn:12"]
    assert missing["status"] == "failed"
    assert "No module named 'fakelib'" in missing["error"].splitlines()[0], "the reason is not in its first line"
    assert outcome.status == 1
    assert "Traceback" not in outcome.out + outcome.err
    assert leftovers(results) == []


def test_faults_leave_no_process(broken: tuple[Path, Path, Outcome]) -> None:
    assert workers_of_this_process() == []


def test_trials_beside_others_are_marked_contended(broken: tuple[Path, Path, Outcome]) -> None:
    _, results, outcome = broken
    assert {record["contended"] for record in records(results) if record["status"] != "unsupported"} == {True}
    assert "† timed while other trials ran" in outcome.out


def test_failures_are_kept_until_a_retry_is_asked_for(broken: tuple[Path, Path, Outcome]) -> None:
    path, results, first = broken
    before = times_written(results)
    again = call("--study", path, "--results", results, "--threads", 1)
    assert (again.status, again.out) == (1, first.out)
    assert times_written(results) == before


def test_retry_failed_runs_the_failed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["--study", study(tmp_path, architecture=["ffn:2", "ffn:1"]), "--results", tmp_path / "results"]
    monkeypatch.setenv(FAULTS, '{"ffn:1": "crash"}')  # the last trial: its dead process is not closed twice
    assert call(*command).status == 1
    before = times_written(tmp_path / "results")
    monkeypatch.delenv(FAULTS)
    assert call(*command).status == 1
    assert times_written(tmp_path / "results") == before
    assert call(*command, "--retry-failed").status == 0
    after = times_written(tmp_path / "results")
    changed = {key for key in before if before[key] != after[key]}
    assert {r["architecture"] for r in records(tmp_path / "results") if r["key"] in changed} == {"ffn:1"}
    assert {r["status"] for r in records(tmp_path / "results")} == {"ok"}


# A whole run and what it writes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Outcome]:
    """A run of two architectures and three seeds that nothing disturbed; tests change copies of it."""
    folder = tmp_path_factory.mktemp("whole")
    path = study(folder, architecture=["ffn:1", "ffn:2"], seeds=3)
    return path, folder / "results", call("--study", path, "--results", folder / "results")


@pytest.fixture
def copied(whole: tuple[Path, Path, Outcome], tmp_path: Path) -> tuple[list[object], Path]:
    """The command of the whole run, on a copy of its results."""
    path, results, _ = whole
    shutil.copytree(results, tmp_path / "results")
    return ["--study", path, "--results", tmp_path / "results"], tmp_path / "results"


def test_run_writes_what_the_design_names(whole: tuple[Path, Path, Outcome]) -> None:
    _, results, outcome = whole
    assert outcome.status == 0, outcome.err
    run = the_run(results)
    assert run.name.startswith("fakes-digits-")
    assert {path.name for path in run.iterdir()} == {"study.json", "environment.json", "trials", "run.log", "tables"}
    assert {path.name for path in (run / "tables").iterdir()} == {"trials.csv", "summary.csv", "ranking.csv"}
    assert len(record_paths(results)) == 6
    for path in record_paths(results):
        assert path.parent.name == path.stem[:2]
        assert {file.name for file in path.with_suffix("").iterdir()} == {
            "history.json",
            "predictions.npz",
            "model.npz",
        }
    assert leftovers(results) == []
    assert len((run / "run.log").read_text().splitlines()) == 7
    assert str(run) in outcome.out


def test_predictions_and_history_agree_with_the_record(whole: tuple[Path, Path, Outcome]) -> None:
    _, results, _ = whole
    for path in record_paths(results):
        record = json.loads(path.read_text())
        with np.load(path.with_suffix("") / "predictions.npz") as saved:
            assert len(saved["index"]) == record["n_test"] == 60
            assert (saved["label"] == saved["predicted"]).mean() == pytest.approx(record["test_accuracy"])
        history = json.loads((path.with_suffix("") / "history.json").read_text())
        assert history["val_accuracy"][record["best_epoch"] - 1] == record["val_accuracy"]
        assert len(history["train_loss"]) == record["epochs"] == 2


def test_warm_worker_runs_several_trials_and_first_seeds_run_alone(whole: tuple[Path, Path, Outcome]) -> None:
    _, results, _ = whole
    pids = {(record["architecture"], record["seed"]): record["settings"]["pid"] for record in records(results)}
    firsts = {pids["ffn:1", 0], pids["ffn:2", 0]}
    others = {pid for (_, seed), pid in pids.items() if seed}
    assert len(firsts) == 2
    assert len(others) == 1
    assert not firsts & others


def test_peak_memory_is_of_fresh_processes_alone(whole: tuple[Path, Path, Outcome]) -> None:
    _, results, _ = whole
    for record in records(results):
        figures = [record[name] for name in ("idle_memory_mb", "peak_memory_mb", "memory_rise_mb", "memory_method")]
        assert all((figure is not None) == (record["seed"] == 0) for figure in figures), record["seed"]
        assert record["contended"] is False


def test_finished_run_prints_its_table_again_and_runs_nothing(copied: tuple[list[object], Path], whole: Any) -> None:
    command, results = copied
    before = times_written(results)
    again = call(*command)
    lines, firsts = again.out.splitlines(), whole[2].out.splitlines()
    assert (again.status, lines[:-1], again.err) == (0, firsts[:-1], "")
    assert times_written(results) == before


def test_progress_is_plain_lines_on_standard_error(whole: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    _, _, outcome = whole
    lines = outcome.err.splitlines()
    assert [line[:5] for line in lines] == [f"[{number}/6]" for number in range(1, 7)]
    assert all(line.endswith(" left") for line in lines)
    path = study(tmp_path, architecture="ffn:1", training={"learning_rate": [0.1, 0.25]})
    varied = call("--study", path, "--results", tmp_path / "results").err.splitlines()
    assert ["learning rate 0.1, seed 0:" in varied[0], "learning rate 0.25, seed 0:" in varied[1]] == [True, True]
    path = study(tmp_path, architecture="ffn:1")
    assert call("--study", path, "--results", tmp_path / "results", "--quiet").err == ""


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_json_is_one_document_and_nothing_else(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1")
    outcome = call("--study", path, "--results", tmp_path / "results", "--json")
    document = json.loads(outcome.out, parse_constant=no_constant)
    assert list(document) == ["run", "directory", "dataset", "trials", "table"]
    assert (outcome.status, outcome.err) == (0, "")
    assert document["dataset"] == "digits"
    assert Path(document["directory"]).name == document["run"] == the_run(tmp_path / "results").name
    assert document["trials"] == records(tmp_path / "results")
    assert [row["test_accuracy_mean"] for row in document["table"]] == [document["trials"][0]["test_accuracy"]]


def test_json_holds_the_failed_too(broken: tuple[Path, Path, Outcome]) -> None:
    path, results, _ = broken
    outcome = call("--study", path, "--results", results, "--threads", 1, "--json")
    document = json.loads(outcome.out, parse_constant=no_constant)
    assert outcome.status == 1
    assert sorted(map(str, document["trials"])) == sorted(map(str, records(results)))
    assert {row["architecture"] for row in document["table"]} >= set(BROKEN)
    assert [row["test_accuracy_mean"] for row in document["table"] if row["architecture"] == "ffn:1"] == [None]


@pytest.mark.skipif(importlib.util.find_spec("common.estimate") is None, reason="common/estimate.py is not there")
def test_dry_run_says_what_there_is_to_do_and_writes_nothing(copied: tuple[list[object], Path], tmp_path: Path) -> None:
    command, results = copied
    fresh = call(*command[:2], "--results", tmp_path / "none", "--dry-run")
    assert (fresh.status, fresh.err) == (0, "")
    assert "trials: 6, of which 0 unsupported; to be run: 6 (6 fake)" in fresh.out
    assert "time: about" in fresh.out
    assert not (tmp_path / "none").exists()
    record_paths(results)[0].unlink()
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    assert "to be run: 1 (1 fake)" in call(*command, "--dry-run").out
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_dry_run_gives_a_larger_network_more_time(tmp_path: Path) -> None:
    def seconds(architecture: str) -> float:
        options = ["--dataset", "digits", "--split", "0.8", "--seeds", 1, "--epochs", 1000]
        command = ["--backend", "torch", "--arch", architecture, *options, "--results", tmp_path, "--dry-run"]
        number, unit = call(*command).out.partition("time: about ")[2].split()[:2]
        return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]

    assert seconds("resnet") > 1.5 * seconds("lightweight_basic")


def test_isolate_gives_every_trial_its_own_process(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1", seeds=3)
    assert call("--study", path, "--results", tmp_path / "results", "--isolate", "--workers", 2).status == 0
    found = records(tmp_path / "results")
    assert len({record["settings"]["pid"] for record in found}) == 3
    assert all(record["peak_memory_mb"] > record["idle_memory_mb"] for record in found)


@pytest.mark.slow
def test_engines_do_not_share_a_process(tmp_path: Path) -> None:
    path = study(tmp_path, backend="fake_engines", engine=["a", "b"], architecture="ffn:1", seeds=2)
    assert call("--study", path, "--results", tmp_path / "results").status == 0
    pids: dict[str, set[int]] = {"a": set(), "b": set()}
    for record in records(tmp_path / "results"):
        pids[record["engine"]].add(record["settings"]["pid"])
    assert [len(found) for found in pids.values()] == [2, 2]
    assert not pids["a"] & pids["b"]


def test_sklearn_learns_the_digits(tmp_path: Path) -> None:
    training = {"epochs": 15, "optimizer": "adam", "learning_rate": 0.01}
    path = study(tmp_path, backend="sklearn", architecture="ffn:32", rows=1797, training=training)
    outcome = call("--study", path, "--results", tmp_path / "results")
    assert outcome.status == 0, outcome.err
    (record,) = records(tmp_path / "results")
    assert record["test_accuracy"] > 0.93
    assert record["parameters"] == 64 * 32 + 32 + 32 * 10 + 10


def test_numbers_that_are_not_finite_become_null_in_records() -> None:
    text = to_json({"a": [float("nan"), 1.5], "b": {"c": float("-inf")}})
    assert json.loads(text, parse_constant=no_constant) == {"a": [None, 1.5], "b": {"c": None}}


# Resuming


def test_only_deleted_records_are_run_again(copied: tuple[list[object], Path], whole: Any) -> None:
    command, results = copied
    before, kept = times_written(results), {r["key"]: r for r in records(results)}
    gone = {r["key"] for r in kept.values() if (r["architecture"], r["seed"]) in {("ffn:1", 1), ("ffn:2", 2)}}
    for path in record_paths(results):
        if path.stem in gone:
            path.unlink()
    assert call(*command).status == 0
    after = times_written(results)
    assert {key for key in before if before[key] != after[key]} == gone
    assert_same_tables(results, whole[1])
    for record in records(results):
        assert without_times(record) == without_times(kept[record["key"]])


@pytest.mark.parametrize("damage", ["", '{"key": "', "[]", '{"key": "another", "status": "ok"}', "\xff"])
def test_damaged_record_is_set_aside_and_run_again(
    copied: tuple[list[object], Path], whole: Any, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, results = copied
    before = times_written(results)
    broken = next(path for path in record_paths(results) if json.loads(path.read_text())["seed"] == 1)
    broken.write_bytes(damage.encode("latin-1"))
    if damage:  # one damage is followed to its end, the others only as far as the table
        assert call("table", the_run(results)).status == 0
    else:
        assert call(*command).status == 0
        assert_same_tables(results, whole[1])
        assert set(times_written(results)) == set(before)
    assert [path.name for path in leftovers(results)] == [f"{broken.stem}.damaged"]
    assert {key for key, when in times_written(results).items() if when != before[key]} <= {broken.stem}


def test_another_machine_stops_and_overwrite_begins_again(tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = ["--study", study(tmp_path, architecture="ffn:1"), "--results", results]
    assert call(*command).status == 0
    path = the_run(results) / "environment.json"
    environment = json.loads(path.read_text())
    here = environment["fixed"]["cpu"]
    path.write_text(json.dumps({**environment, "fixed": {**environment["fixed"], "cpu": "Abacus 1"}}))
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    stopped = call(*command)
    assert (stopped.status, stopped.out) == (2, "")
    assert f"cpu was Abacus 1, is {here}" in stopped.err
    assert "--overwrite" in stopped.err
    assert len(stopped.err.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before
    (old,) = record_paths(results)
    again = call(*command, "--overwrite")
    assert again.status == 0
    assert old.stat().st_mtime_ns != before[old]
    assert json.loads(path.read_text())["fixed"]["cpu"] == here


# Ended from outside

SLEEPY = {"ffn:1": "sleep:0.1", "ffn:2": "sleep:0.1"}


def wait_for_records(results: Path, count: int, process: Any) -> None:
    deadline = time.monotonic() + 60
    while len(record_paths(results)) < count and process.poll() is None:
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.02)


def assert_no_worker_left(mark: str) -> None:
    deadline = time.monotonic() + 10
    while workers_marked(mark):
        assert time.monotonic() < deadline, f"still there: {workers_marked(mark)}"
        time.sleep(0.1)


def test_interrupt_ends_cleanly_and_resumes(copied: tuple[list[object], Path], whole: Any, tmp_path: Path) -> None:
    command, mark, results = copied[0][:2], str(uuid.uuid4()), tmp_path / "interrupted"
    process = started(*command, "--results", results, faults=SLEEPY, mark=mark)
    wait_for_records(results, 1, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "compare.py: stopped; the same command goes on where it was"
    assert "Traceback" not in err
    assert_no_worker_left(mark)
    before = times_written(results)
    assert 1 <= len(before) < 6
    assert call(*command, "--results", results).status == 0
    assert before.items() <= times_written(results).items()
    assert_same_tables(results, whole[1])
    assert leftovers(results) == []


@pytest.mark.slow
def test_worker_that_hangs_ends_with_a_killed_parent(tmp_path: Path) -> None:
    mark, path = str(uuid.uuid4()), study(tmp_path, architecture="ffn:1")
    process = started("--study", path, "--results", tmp_path / "results", faults={"ffn:1": "hang"}, mark=mark)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "results").glob("*/trials/??/*.part")) or not workers_marked(mark):
        assert time.monotonic() < deadline, "no worker"
        time.sleep(0.1)
    time.sleep(2)
    process.kill()
    process.communicate()
    assert_no_worker_left(mark)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_resumes(whole: Any, tmp_path: Path, seed: int) -> None:
    results, mark = tmp_path / "results", str(uuid.uuid4())
    command = ["--study", whole[0], "--results", results]
    moments = random.Random(seed)
    process = started(*command, faults=SLEEPY, mark=mark)
    wait_for_records(results, moments.randrange(5), process)
    time.sleep(moments.uniform(0, 1.5))
    process.kill()
    process.communicate()
    assert_no_worker_left(mark)
    before = times_written(results)
    assert all(record["status"] == "ok" for record in records(results)), "a record is not whole"
    resumed = started(*command, faults=SLEEPY, mark=mark)
    _, err = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, err
    after = times_written(results)
    assert before.items() <= after.items(), "what was finished was run again"
    assert len(after) == 6
    assert_same_tables(results, whole[1])
    assert leftovers(results) == []
    assert_no_worker_left(mark)
