"""The command line: mistakes said in one line and nothing written, quick help, lists, tables and profiles."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command import ROOT, call, record_paths, study, the_run

HEAVY = ("numpy", "pydantic", "pandas", "sklearn", "torch", "tensorflow", "keras", "jax")

# Mistakes


def raw(text: str) -> Callable[[Path], list[object]]:
    """A study file with this text."""

    def make(folder: Path) -> list[object]:
        path = folder / "mine.json"
        path.write_text(text, encoding="latin-1")
        return ["--study", path]

    return make


def fields(**changes: Any) -> Callable[[Path], list[object]]:
    """A sound study file with these changes."""
    return lambda folder: ["--study", study(folder, **{"architecture": "ffn:1", **changes})]


def flags(*arguments: object) -> Callable[[Path], list[object]]:
    """A sound study file with these flags behind it."""
    return lambda folder: ["--study", study(folder, architecture="ffn:1"), *arguments]


def npz(**arrays: np.ndarray) -> Callable[[Path], list[object]]:
    """A data file of the user's own."""

    def make(folder: Path) -> list[object]:
        np.savez(folder / "mine.npz", **arrays)
        return flags("--dataset", folder / "mine.npz")(folder)

    return make


def npz_bytes(content: bytes) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / "mine.npz").write_bytes(content)
        return flags("--dataset", folder / "mine.npz")(folder)

    return make


def mnist(images: bytes) -> Callable[[Path], list[object]]:
    """A data directory with this file in the place of MNIST's training images."""

    def make(folder: Path) -> list[object]:
        (folder / "data" / "mnist").mkdir(parents=True)
        (folder / "data" / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(images)
        return flags("--dataset", "mnist", "--data-dir", folder / "data")(folder)

    return make


HEADER = struct.pack(">HBBIII", 0, 8, 3, 60_000, 28, 28)
X, Y = np.ones((40, 4), np.float32), np.arange(40) % 2
GAP = np.where(np.arange(160).reshape(40, 4) == 5, np.nan, X)

MISTAKES: dict[str, tuple[Callable[[Path], list[object]], tuple[str, ...]]] = {
    # backends, engines, architectures
    "unknown backend": (flags("--backend", "torhc"), ("backend: 'torhc'", "did you mean 'torch'?")),
    "unknown backend in a file": (fields(backend="skleran"), ("backend: 'skleran'", "did you mean 'sklearn'?")),
    "engine of a wrong backend": (
        flags("--backend", "torch", "--engine", "tensorflow"),
        ("engine: 'tensorflow'", "torch has no engines: leave it out"),
    ),
    "unknown engine": (
        flags("--backend", "keras", "--engine", "teano"),
        ("engine: 'teano'", "use one of tensorflow, torch, jax"),
    ),
    "unknown architecture": (flags("--arch", "resnett"), ("architecture: 'resnett'", "Known: ffn:SIZES[:ACTIVATION]")),
    "ffn without sizes": (flags("--arch", "ffn:"), ("architecture: 'ffn:'", "such as ffn:64")),
    "ffn with odd sizes": (flags("--arch", "ffn:64--32"), ("architecture: 'ffn:64--32'", "such as ffn:64")),
    "ffn of no neurons": (
        flags("--arch", "ffn:0"),
        ("architecture.hidden_layer_sizes.0: found 0", "greater than or equal to 1"),
    ),
    "activation misspelt": (
        flags("--arch", "ffn:64:sigmiod"),
        ("architecture.activations.0: found 'sigmiod'", "did you mean 'sigmoid'?"),
    ),
    "too many activations": (
        flags("--arch", "ffn:64:relu-tanh"),
        ("architecture: 1 hidden layers but 2 activations", "give one for all, or one for each"),
    ),
    "unknown option of ffn": (
        fields(architecture={"name": "ffn:4", "drpout": 0.5}),
        ("architecture.drpout", "did you mean 'dropout'?"),
    ),
    "architecture is a number": (fields(architecture=64), ("architecture: 64", "write 'ffn:64'")),
    # study files
    "unknown study": (lambda folder: ["--study", "quik"], ("study: 'quik'", "did you mean 'quick'?")),
    "study is a folder": (lambda folder: ["--study", folder], ("study: ", "neither a shipped study nor a file")),
    "study not JSON": (raw("{nope"), ("mine.json: is not JSON", "line 1 column 2")),
    "study not text": (raw("\xff\xfe{}"), ("mine.json: is not JSON",)),
    "study a list": (raw("[]"), ("mine.json: found a list", "a study is an object")),
    "NaN in a study": (
        raw('{"question": "?", "base": {"training": {"learning_rate": NaN}}}'),
        ("mine.json: is not JSON: NaN is no JSON number",),
    ),
    "infinite number in a study": (
        raw('{"question": "?", "base": {"backend": "fake", "architecture": "ffn:1", "training": {"l2": 1e999}}}'),
        ("training.l2: found inf", "finite number"),
    ),
    "unknown key of a study": (raw('{"question": "?", "baze": {}}'), ("mine.json: baze", "did you mean 'base'?")),
    "study without a question": (raw('{"base": {}}'), ("mine.json: question: is missing",)),
    "grids of a study empty": (raw('{"question": "?", "grids": []}'), ("mine.json: grids: found []", "at least 1")),
    "field of a group": (fields(epochs=1), ("epochs: is not a known field", "did you mean training.epochs?")),
    "unknown field": (fields(trainng=1), ("trainng: is not a known field", "did you mean 'training'?")),
    "unknown setting": (
        fields(training={"lerning_rate": 0.1}),
        ("training.lerning_rate: is not a known field", "did you mean 'learning_rate'?"),
    ),
    "wrong type": (fields(training={"epochs": "five"}), ("training.epochs: found 'five'", "valid integer")),
    "true is no number": (fields(seeds=True), ("seeds: found True", "valid integer")),
    "empty list": (fields(train_share=[]), ("train_share: the list is empty", "at least one value")),
    "no seeds in a file": (fields(seeds=0), ("seeds: the list is empty", "at least one value")),
    "sgd's momentum with adam": (
        fields(training={"optimizer": "adam", "momentum": 0.9}),
        ("training: momentum and nesterov are sgd's", "leave them out"),
    ),
    "group is no object": (
        raw('{"question": "?", "base": {"backend": "fake", "architecture": "ffn:1", "training": 5}}'),
        ("training: found 5", "dictionary"),
    ),
    "group is no object, and a flag speaks to it": (
        lambda folder: [
            *raw('{"question": "?", "base": {"backend": "fake", "architecture": "ffn:1", "training": 5}}')(folder),
            *("--epochs", 1),
        ],
        ("training: found 5", "dictionary"),
    ),
    "unknown recommendation": (
        lambda folder: raw(
            '{"question": "?", "recommend": "learnin_rate", '
            '"base": {"backend": "fake", "architecture": "ffn:1", "dataset": "digits"}}'
        )(folder),
        ("recommend: 'learnin_rate' is not a setting", "did you mean 'learning_rate'?"),
    ),
    # values of flags
    "share above 1": (flags("--split", "1.5"), ("--split: '1.5'", "between 0 and 1, such as 0.8, or official")),
    "split misspelt": (
        flags("--split", "offical"),
        ("--split: 'offical'", "between 0 and 1, such as 0.8, or official"),
    ),
    "split not a number": (flags("--split", "abc"), ("--split: 'abc'", "between 0 and 1, such as 0.8, or official")),
    "split NaN": (flags("--split", "nan"), ("--split: 'nan'", "between 0 and 1")),
    "official split that is none": (
        flags("--split", "official"),
        ("split: official", "give a training share such as 0.8"),
    ),
    "learning rate below 0": (
        flags("--learning-rate", -1),
        ("training.learning_rate: found -1.0", "greater than 0"),
    ),
    "learning rate not a number": (flags("--learning-rate", "slow"), ("--learning-rate: 'slow'", "such as 0.001")),
    "no epochs": (flags("--epochs", 0), ("training.epochs: found 0", "greater than or equal to 1")),
    "half an epoch": (flags("--epochs", 1.5), ("--epochs: '1.5' is not a whole number",)),
    "no seeds": (flags("--seeds", 0), ("--seeds: 0", "at least 1")),
    "batch size 0": (flags("--batch-size", 0), ("training.batch_size: found 0", "greater than or equal to 1")),
    "optimizer misspelt": (
        flags("--optimizer", "adm"),
        ("training.optimizer: found 'adm'", "did you mean 'adam'?"),
    ),
    "precision misspelt": (flags("--precision", "float46"), ("precision: found 'float46'", "did you mean 'float64'?")),
    "no workers": (flags("--workers", 0), ("--workers: 0", "at least 1")),
    "workers in words": (flags("--workers", "two"), ("--workers: 'two' is not a whole number",)),
    "timeout in words": (flags("--timeout", "soon"), ("--timeout: 'soon'", "number of seconds above 0")),
    "protocol to come": (flags("--protocol", "natve"), ("protocol: found 'natve'", "'matched'")),
    "flag misspelt": (flags("--epocs", 3), ("unrecognized arguments: --epocs", "did you mean '--epochs'?")),
    "flag without a value": (flags("--arch"), ("argument --arch", "at least one")),
    "command misspelt": (lambda folder: ["tabel"], ("unrecognized arguments: tabel", "did you mean 'table'?")),
    # data
    "dataset misspelt": (flags("--dataset", "digist"), ("dataset: unknown name 'digist'", "did you mean 'digits'?")),
    "npz missing": (flags("--dataset", "no/such.npz"), ("no/such.npz: no such file",)),
    "npz corrupt": (npz_bytes(b"PK\3\4 and no more"), ("mine.npz: not an .npz file", "numpy.savez_compressed")),
    "npz empty": (npz_bytes(b""), ("mine.npz: not an .npz file",)),
    "npz without y": (npz(X=X), ("mine.npz: expected arrays X and y, found X",)),
    "npz with NaN": (npz(X=GAP, y=Y), ("mine.npz: X has 1 values that are NaN", "remove or replace them")),
    "npz with other labels": (npz(X=X, y=Y[:7]), ("mine.npz: X has 40 rows, y has 7", "as many labels as images")),
    "npz of text": (npz(X=X.astype(str), y=Y), ("mine.npz: X has type", "expected numbers")),
    "npz of objects": (npz(X=X.astype(object), y=Y), ("mine.npz: X holds Python objects", "convert it")),
    "MNIST truncated": (
        mnist(gzip.compress(HEADER + bytes(60_000 * 28 * 28))[:200]),
        ("train-images-idx3-ubyte.gz: ", "truncated"),
    ),
    "MNIST with a wrong magic": (
        mnist(gzip.compress(b"\x89PNG" + bytes(100))),
        ("train-images-idx3-ubyte.gz: starts with 89 50 4e 47", "expected an IDX file of images"),
    ),
    "MNIST that is not MNIST": (
        mnist(gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 2, 3, 3) + bytes(18))),
        ("train-images-idx3-ubyte.gz: SHA-256", "not the known file"),
    ),
    "data directory is a file": (
        lambda folder: flags("--dataset", "mnist", "--data-dir", study(folder, architecture="ffn:1"))(folder),
        ("data directory", "is a file: give the folder"),
    ),
    "too many components": (
        fields(features={"pca": 5000}),
        ("pca: 5000 components", "expected at most 64"),
    ),
    "too few rows for every class": (flags("--rows", 12), ("rows: ", "take more than 12 rows")),
    "too few rows": (flags("--rows", 3), ("rows: found 3", "greater than or equal to 10")),
    "share that leaves no test rows": (flags("--split", 0.999), ("leaves class 0 without test rows", "rows")),
}


def assert_said_in_one_line(status: int, out: str, err: str, expected: tuple[str, ...]) -> None:
    assert (status, out) == (2, ""), err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("compare.py: ")
    for text in expected:
        assert text in err
    assert "Traceback" not in err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_said_in_one_line_and_nothing_is_written(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, expected = MISTAKES[mistake]
    arguments, results = make(tmp_path), tmp_path / "results"
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    outcome = call(*arguments, "--results", results)
    assert_said_in_one_line(outcome.status, outcome.out, outcome.err, expected)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mistake", ["flag misspelt", "NaN in a study", "npz with NaN"])
def test_mistake_ends_a_real_process_likewise(mistake: str, tmp_path: Path) -> None:
    make, expected = MISTAKES[mistake]
    arguments = [str(argument) for argument in make(tmp_path)]
    arguments += ["--backend", "sklearn", "--results", str(tmp_path / "results")]  # the fake is not known there
    done = subprocess.run(
        [sys.executable, "compare.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert_said_in_one_line(done.returncode, done.stdout, done.stderr, expected)
    assert not (tmp_path / "results").exists()


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1:rleu", precision="half", training={"epochs": 0})
    outcome = call("--study", path, "--results", tmp_path / "results")
    assert outcome.status == 2
    starts = ["architecture.activations.0: found 'rleu'", "precision: found 'half'", "training.epochs: found 0"]
    assert sorted(line[: len("compare.py: ")] for line in outcome.err.splitlines()) == ["compare.py: "] * 3
    for start in starts:
        assert f"compare.py: {start}" in outcome.err


def test_mistake_of_one_grid_says_which(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1", grids=[{}, {"training": {"epochs": 0}}])
    assert "grids[1].training.epochs: found 0" in call("--study", path, "--results", tmp_path / "results").err


@pytest.mark.parametrize("options", [5, [1], "width=3"])
def test_options_that_are_no_object(options: object, tmp_path: Path) -> None:
    from backends.models import catalog

    names = list(catalog())
    if not names:
        pytest.skip("no registered architecture")
    path = study(tmp_path, architecture={"name": names[0], "options": options})
    outcome = call("--study", path, "--results", tmp_path / "results")
    assert_said_in_one_line(outcome.status, outcome.out, outcome.err, (f"options of {names[0]}", "as an object"))


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1")
    outcome = call("--study", path, "--results", path)
    assert_said_in_one_line(outcome.status, outcome.out, outcome.err, ("results: ", "--results DIR"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_results_without_permission(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir(mode=0o500)
    outcome = call("--study", study(tmp_path, architecture="ffn:1"), "--results", tmp_path / "results")
    assert_said_in_one_line(outcome.status, outcome.out, outcome.err, ("results: ", "Permission denied"))


# Other commands


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


def test_an_option_that_makes_no_network_is_told_before_anything_is_written(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    flags = ["--backend", "torch", "--dataset", "digits", "--results", tmp_path / "results", "--threads", 1]
    for flag in ([], ["--dry-run"]):
        refused = call(*flags, "--arch", "attention_2k+scores=unifrom", *flag)
        assert refused.status == 2 and "scores 'unifrom'; use one of both" in refused.err
        assert refused.err.count("\n") == 1 and not (tmp_path / "results").exists()


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


def test_mistakes_in_unusual_characters_are_said(tmp_path: Path) -> None:
    assert call("").status == 2
    outcome = call("--study", study(tmp_path, Threads=1), "--results", tmp_path)
    assert outcome.status == 2 and "Threads: is not a known field; did you mean 'threads'?" in outcome.err
