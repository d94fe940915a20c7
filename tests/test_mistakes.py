"""Mistakes of the user: each said in one line that names the field, exit status 2, and nothing written."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command import ROOT, assert_said_in_one_line, call, study


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
    "network of one's own without a place": (
        flags("--arch", "custom"),
        ("architecture: custom needs a place, module:callable or FILE.py:callable",),
    ),
    "network of one's own without a place in a file": (
        fields(architecture={"name": "custom"}),
        ("architecture: custom needs a place",),
    ),
    "place is a number": (
        lambda folder: [*fields(architecture={"name": "custom", "place": 5})(folder), "--allow-code"],
        ("architecture: custom needs a place", "found 5"),
    ),
    "architecture is a number": (fields(architecture=64), ("architecture: 64", "write 'ffn:64'")),
    # study files
    "unknown study": (lambda folder: ["--study", "quik"], ("study: 'quik'", "did you mean 'quick'?")),
    "study is a folder": (lambda folder: ["--study", folder], ("study: ", "neither a shipped study nor a file")),
    "study of too long a name": (lambda folder: ["--study", "x" * 300], ("xxx: File name too long",)),
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
    "required field misspelt": (
        raw('{"question": "?", "base": {"backend": "fake", "architecure": "ffn:1"}}'),
        ("architecure: is not a known field; did you mean 'architecture'?",),
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
    "more seeds than memory holds, in a file": (
        fields(seeds=100_000_000_000),
        ("seeds: found 100000000000; give at most 100,000",),
    ),
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
    "unknown field of a search": (
        raw('{"question": "?", "search": {"budgets": {"trials": 2}, "space": {}}}'),
        ("search.budgets: is not a known field; did you mean 'budget'?",),
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
    "more seeds than memory holds": (flags("--seeds", 10**11), ("seeds: found 100000000000; give at most 100,000",)),
    "more seeds than a list can have": (flags("--seeds", 10**20 - 1), ("seeds: found 99999999999999999999",)),
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


def test_an_option_that_makes_no_network_is_told_before_anything_is_written(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    flags = ["--backend", "torch", "--dataset", "digits", "--results", tmp_path / "results", "--threads", 1]
    for flag in ([], ["--dry-run"]):
        refused = call(*flags, "--arch", "attention_2k+scores=unifrom", *flag)
        assert refused.status == 2 and "scores 'unifrom'; use one of both" in refused.err
        assert refused.err.count("\n") == 1 and not (tmp_path / "results").exists()


def test_mistakes_in_unusual_characters_are_said(tmp_path: Path) -> None:
    assert call("").status == 2
    outcome = call("--study", study(tmp_path, Threads=1), "--results", tmp_path)
    assert outcome.status == 2 and "Threads: is not a known field; did you mean 'threads'?" in outcome.err
