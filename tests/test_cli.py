"""The command line: quick help, lists, tables, profiles, and flags over studies."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import settings
from tests.command import ROOT, assert_said_in_one_line, call, record_paths, study, the_run

HEAVY = ("numpy", "pydantic", "pandas", "sklearn", "torch", "tensorflow", "keras", "jax")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with one finished run in them: two architectures of the fake, two seeds."""
    folder = tmp_path_factory.mktemp("cli")
    path = study(folder, architecture=["ffn:1", "ffn:2"], seeds=2)
    outcome = call("--study", path, "--results", folder / "results")
    assert outcome.status == 0, outcome.err
    return folder / "results"


def table(results: Path, *arguments: str) -> str:
    outcome = call("table", the_run(results).name, "--results", results, *arguments)
    assert (outcome.status, outcome.err) == (0, "")
    return outcome.out


def test_table_as_text(results: Path) -> None:
    lines = table(results).splitlines()
    assert lines[0].startswith("digits · split 80/20 · rows 300")
    rows = [line.split()[:2] for line in lines if line.startswith("fake")]
    assert rows == [["fake", "ffn:1"], ["fake", "ffn:2"]]
    assert call("table", the_run(results)).out.splitlines() == lines, "a directory does as well as a name"


def test_table_as_markdown(results: Path) -> None:
    rows = [line for line in table(results, "--format", "markdown").splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert set(rows[1]) <= set("|-: ")


def test_table_as_csv(results: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(table(results, "--format", "csv"))))
    assert [row["architecture"] for row in rows] == ["ffn:1", "ffn:2"]
    assert [row["n"] for row in rows] == ["2", "2"]
    assert all(0.3 < float(row["test_accuracy_mean"]) < 1 for row in rows)


def test_table_as_latex(results: Path) -> None:
    text = table(results, "--format", "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert text.count(r"\\") >= 3


def test_table_ranked(results: Path) -> None:
    text = table(results, "--rank", "test_accuracy=0.5,parameters=0.5")
    assert "rank" in text
    ranked = [line.split() for line in text.splitlines() if "fake" in line]
    assert ranked[0][0] == "1"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nosuch"], ("run: 'nosuch' is not a run", "Runs there: fakes-digits-")),
        (["--rank", "accuracy=1"], ("rank: 'accuracy' is not a figure", "did you mean 'test_accuracy'?")),
        (["--rank", "fit_s"], ("rank: fit_s: write a weight", "such as fit_s=0.2")),
        (["--rank", "fit_s=nan"], ("rank: fit_s=nan: write a weight",)),
        (["--rank", "fit_s=0"], ("rank: all weights are 0",)),
        (["--format", "latx"], ("argument --format: invalid choice: 'latx'", "did you mean 'latex'?")),
    ],
)
def test_table_of_a_mistake(results: Path, arguments: list[str], expected: tuple[str, ...]) -> None:
    name = [] if arguments == ["nosuch"] else [the_run(results).name]
    outcome = call("table", *name, *arguments, "--results", results)
    assert_said_in_one_line(outcome.status, outcome.out, outcome.err, expected)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("backends", ["sklearn", "keras", "torch", "fake", "cannot: the fake has no dropout"]),
        ("architectures", ["ffn:SIZES[:ACTIVATIONS]"]),
        ("studies", ["quick", "splits", "sensitivity", "How many epochs are worth their time?"]),
        ("datasets", ["mnist", "fashion_mnist", "cifar10", "digits", "auto", "FILE.npz"]),
        ("runs", ["fakes-digits-", "4 of 4 trials; What breaks?"]),
    ],
)
def test_list_of_one_kind(results: Path, what: str, expected: list[str]) -> None:
    outcome = call("list", what, "--results", results)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{what}:\n")
    for text in expected:
        assert text in outcome.out
    assert outcome.out in call("list", "--results", results).out + "\n"


def test_list_of_no_runs(tmp_path: Path) -> None:
    assert call("list", "runs", "--results", tmp_path / "none").out == "runs:\n  none yet\n\n"
    assert not (tmp_path / "none").exists()


def test_profile_counts_layer_by_layer() -> None:
    outcome = call("profile", "ffn:1", "--backend", "fake", "--input-shape", "8x8x1")
    assert (outcome.status, outcome.err) == (0, "")
    rows = {line.split()[0]: line.split() for line in outcome.out.splitlines() if line}
    assert rows["logits"] == ["logits", "dense", "10", "650", "1,280", "0.0", "2.6"]
    assert rows["total"][1:] == ["650", "1,280", "0.0", "2.6"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nosuch"], ("architecture: 'nosuch' is not an architecture",)),
        (["ffn:4", "--backend", "tensorflow"], ("backend: 'tensorflow' is not known",)),
        (["ffn:4", "--input-shape", "28"], ("--input-shape: '28' is not a shape", "such as 28x28x1")),
        (["ffn:4:gelu", "--backend", "sklearn"], ("sklearn cannot build ffn:4:gelu", "MLPClassifier has relu")),
        ([], ("required: ARCH",)),
    ],
)
def test_profile_of_a_mistake(arguments: list[str], expected: tuple[str, ...]) -> None:
    outcome = call("profile", *arguments)
    assert_said_in_one_line(outcome.status, outcome.out, outcome.err, expected)


# Processes


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["table", "--help"], ["profile", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, compare\n"
        "try:\n    compare.main(sys.argv[1:])\n"
        f"except SystemExit as end:\n    print('HEAVY', sorted(set(sys.modules) & set({HEAVY!r})), end.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY [] 0"
    assert "usage: compare.py" in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_reader_that_has_gone_is_no_mistake(results: Path, unbuffered: str) -> None:
    command = [sys.executable, "compare.py", "table", str(the_run(results))]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()  # before anything is printed, so that the first line already finds nobody
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_a_backend_is_a_command_of_its_own(tmp_path: Path) -> None:
    command = ["-m", "backends.sklearn_mlp", "--dataset", "digits", "--results", str(tmp_path / "results"), "--dry-run"]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "to be run: 12 (12 sklearn)" in done.stdout


def test_a_study_says_its_threads_and_a_flag_replaces_them(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1", threads=[1, 3])
    flags = ["--study", path, "--results", tmp_path / "results", "--dry-run"]
    assert "to be run: 2 " in call(*flags).out
    assert "to be run: 1 " in call(*flags, "--threads", 2).out


def test_threads_are_shared_out_of_the_cores_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5}, raising=False)
    assert [settings.cores(workers) for workers in (1, 2, 9)] == [3, 1, 1]


@pytest.mark.parametrize("command", ["table", "report", "export", "demo"])
def test_a_name_that_no_file_can_have_is_said_in_one_line(command: str) -> None:
    outcome = call(command, "x" * 300)
    assert_said_in_one_line(outcome.status, outcome.out, outcome.err, ("File name too long",))


def test_flags_replace_what_the_study_says(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1", seeds=5)
    changes = ["--seeds", 1, "--epochs", 3, "--batch-size", 16, "--learning-rate", 0.25, "--split", 0.6, "--threads", 1]
    outcome = call("--study", path, *changes, "--results", tmp_path / "results", "--json")
    (record,) = json.loads(outcome.out)["trials"]
    assert (record["seed"], record["epochs"], record["max_epochs"], record["batch_size"]) == (0, 3, 3, 16)
    assert (record["learning_rate"], record["train_share"], record["threads"]) == (0.25, 0.6, 1)
    assert record["n_train"] + record["n_val"] == 180


def test_optional_data_sets_that_are_not_on_disk_are_left_out(tmp_path: Path) -> None:
    flags = ["--study", "transfer", "--data-dir", tmp_path / "none", "--results", tmp_path / "results", "--dry-run"]
    outcome = call(*flags)
    assert outcome.status == 0 and "to be run: 18 (18 torch)" in outcome.out
    assert "fashion_mnist, cifar10 left out: not on disk" in outcome.out
    path = tmp_path / "mine.json"
    base = {"backend": "torch", "architecture": "cnn", "dataset": "cifar10"}
    path.write_text(json.dumps({"question": "?", "base": base, "optional_datasets": ["cifar10"]}))
    refused = call("--study", path, *flags[2:])
    assert refused.status == 2 and "optional_datasets: nothing is left" in refused.err
    path.write_text(json.dumps({"question": "?", "base": base, "optional_datasets": ["cifar"]}))
    refused = call("--study", path, *flags[2:])
    assert refused.status == 2 and "optional_datasets: 'cifar' is none of" in refused.err


def test_what_no_record_says_is_damage(tmp_path: Path) -> None:
    path, results = study(tmp_path, architecture=["ffn:1", "ffn:2"]), tmp_path / "results"
    assert call("--study", path, "--results", results).status == 0
    for record, changed in zip(record_paths(results), ({"architecture": 7}, {"fit_s": "long"}), strict=True):
        fields = json.loads(record.read_text(encoding="utf-8"))
        record.write_text(json.dumps({**fields, **changed}), encoding="utf-8")
    outcome = call("table", the_run(results))
    assert outcome.status == 0 and "architecture is 7" in outcome.err and "fit_s is 'long'" in outcome.err, outcome
