"""Hostile input, made up by hypothesis: one line for the user's mistake, no traceback, no hang, nothing written elsewhere.

Studies and flags go through the command line as far as the run, which is left out: what is trained has been validated
by then. ``make fuzz`` tries 20,000 inputs; ``SAMENET_FUZZ`` says how many.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import math
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from common import data
from common.idx import read_idx
from common.npz import read_npz
from config import UserError
from tests.command import call, record_paths, study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
INPUTS = int(os.environ.get("SAMENET_FUZZ", "1000"))
TRIED: Counter[str] = Counter()


def fuzzed(share: float) -> settings:
    """Return the settings of a test that gets this share of all inputs."""
    return settings(
        max_examples=math.ceil(INPUTS * share),
        deadline=20_000,  # of one input, in milliseconds: longer is a hang
        database=None,
        phases=[Phase.generate],  # a failing input is small enough, and making it smaller takes minutes
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only record of a run."""
    place = tmp_path_factory.mktemp("finished")
    assert call("--study", study(place, architecture="ffn:1"), "--results", place / "results").status == 0
    (found,) = record_paths(place / "results")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, record: Path) -> Iterator[Path]:
    """The folder that everything happens in; nothing may be made anywhere else, and nothing is run after `record`."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "here").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "here")
        patch.setattr(data, "load", functools.lru_cache(data.load))  # digits take 20 ms to read

        def would_run(*_: object) -> None:
            raise UserError("here it would run")

        import common.runner

        patch.setattr(common.runner, "execute", would_run)
        patch.setenv("SAMENET_DATA_DIR", str(folder / "data"))
        patch.setattr("common.fetch._any_answers", lambda urls: False)
        yield folder


def assert_one_answer(*argv: object, folder: Path) -> None:
    before = set(folder.rglob("*"))
    try:
        outcome = call(*argv)
    except UnicodeEncodeError:
        return
    assert outcome.status in (0, 2), outcome
    assert outcome.status == 0 or outcome.err.strip(), "nothing is said"
    assert "Traceback" not in outcome.err + outcome.out
    assert set(folder.rglob("*")) == before, "something was written"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(
    ["ffn:1", "ffn:8-8:relu", "ffn:99999999999", "cnn", "fake", "sklearn", "torch", "keras", "digits", "auto", "../x",
     "official", "/dev/zero", "con", "ffn:" + "1-" * 500 + "1", "x.py:f", "os:system", "\x00", "ffn:1+dropout=nan"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["backend", "engine", "architecture", "dataset", "train_share", "rows", "seed", "seeds", "features", "training",
     "protocol", "loop", "device", "precision", "threads", "data_sha256", "nonsense"]
)  # fmt: skip
TRAINING = st.sampled_from(
    ["epochs", "batch_size", "optimizer", "learning_rate", "momentum", "schedule", "l2", "validation", "augmentation",
     "early_stopping_patience", "label_smoothing", "weight_decay", "sparsity"]
)  # fmt: skip
GRIDS = st.dictionaries(FIELDS, VALUES | st.dictionaries(TRAINING, VALUES, max_size=3), max_size=5)
SOUND = {"backend": "fake", "architecture": "ffn:1", "dataset": "digits"}


@fuzzed(0.1)
@given(
    base=GRIDS,
    sound=st.booleans(),
    rest=st.fixed_dictionaries(
        {}, optional={"question": VALUES, "grids": st.lists(GRIDS, max_size=2) | VALUES, "name": VALUES, "recommend": VALUES,
                      "optional_datasets": VALUES, "against_base": st.booleans() | VALUES, "more": VALUES}
    ),
)  # fmt: skip
def test_study_files_of_all_kinds(folder: Path, base: dict[str, Any], sound: bool, rest: dict[str, Any]) -> None:
    TRIED["study files of all kinds"] += 1
    if isinstance(base.get("seeds"), int) and base["seeds"] > 1000:
        base["seeds"] = 1000  # more are as valid, and take as long as they are many
    whole = {"question": "?", "base": {**(SOUND if sound else {}), **base}, **rest}
    path = folder / "study.json"
    path.write_text(json.dumps(whole), encoding="utf-8")
    assert_one_answer("--study", path, "--results", folder / "results", folder=folder)


@fuzzed(0.2)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_study_files_that_are_none(folder: Path, content: bytes) -> None:
    TRIED["study files that are none"] += 1
    path = folder / "study.json"
    path.write_bytes(content)
    assert_one_answer("--study", path, "--results", folder / "results", folder=folder)


FLAGS = st.sampled_from(
    ["--backend", "--engine", "--arch", "--split", "--seeds", "--epochs", "--batch-size", "--optimizer", "--timeout",
     "--learning-rate", "--dataset", "--rows", "--protocol", "--loop", "--device", "--precision", "--threads",
     "--workers", "--batch-trials", "--memory-limit", "--max-time", "--executor", "--scheduler", "--isolate", "--json",
     "--quiet", "--allow-code", "--nonsense", "--study", "table", "list", "profile", "claims", "--format", "--rank"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["1", "0", "-1", "1e400", "nan", "inf", "0.5", "official", "torch", "fake", "digits", "quick", "../..", "/dev/zero",
     "/dev/stdin", "/", "", "ffn:8", "ffn:", "cnn+width=2", "a:b", "x.npz", "mnist", "99999999999999999999", "local"]
) | st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)  # fmt: skip


@fuzzed(0.2)
@given(arguments=st.lists(FLAGS | WORDS, max_size=6))
def test_flags(folder: Path, arguments: list[str]) -> None:
    TRIED["flags"] += 1
    if "profile" in arguments[:1] or {"-h", "--help"} & set(arguments) or "--dry-run" in arguments:
        return  # builds networks, in processes of their own
    assert_one_answer(*arguments, folder=folder)


def with_changes(draw: Callable[..., Any], sound: bytes) -> bytes:
    """Draw bytes, or a sound record with some of its fields or bytes changed."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return bytes(draw(st.binary(max_size=300)))
    if kind == 1:
        return sound[: draw(st.integers(0, len(sound)))]
    if kind == 2:
        place = draw(st.integers(0, len(sound) - 1))
        return sound[:place] + bytes(draw(st.binary(min_size=1, max_size=4))) + sound[place + 1 :]
    fields = json.loads(sound)
    for name in draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
        if draw(st.booleans()):
            fields.pop(name, None)
        else:
            fields[name] = draw(VALUES)
    return json.dumps(fields).encode()


@fuzzed(0.05)
@given(draw=st.data())
def test_records(record: Path, draw: st.DataObject) -> None:
    TRIED["records"] += 1
    sound = _sound(record)
    record.write_bytes(with_changes(draw.draw, sound))
    run = record.parents[2]
    rank = draw.draw(st.booleans())
    outcome = call("table", run, *(["--rank", "test_accuracy=1"] if rank else []))
    assert outcome.status in (0, 2), outcome
    record.with_suffix(".damaged").unlink(missing_ok=True)
    assert len([*run.rglob("*")]) <= 15


@functools.cache
def _sound(record: Path) -> bytes:
    return record.read_bytes()


def idx(kind: int, ndim: int, shape: tuple[int, ...], body: bytes) -> bytes:
    return b"\0\0" + bytes([kind, ndim]) + b"".join(struct.pack(">I", size) for size in shape) + body


IDX = st.binary(max_size=100) | st.builds(
    idx,
    st.sampled_from([8, 8, 8, 0, 9, 255]),
    st.integers(0, 4),
    st.lists(st.integers(0, 20) | st.integers(0, 2**32 - 1), max_size=4).map(tuple),
    st.binary(max_size=300),
)


@fuzzed(0.25)
@given(content=IDX, zipped=st.booleans(), cut=st.integers(0, 40), ndim=st.sampled_from([1, 3]))
def test_idx_files(folder: Path, content: bytes, zipped: bool, cut: int, ndim: int) -> None:
    TRIED["idx files"] += 1
    content = gzip.compress(content, mtime=0) if zipped else content
    path = folder / "images.idx"
    path.write_bytes(content[: len(content) - cut] if cut < 20 else content)
    try:
        values = read_idx(path, ndim).values
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert values.ndim == ndim and values.size


ARRAYS = st.sampled_from(
    [np.zeros((4, 4)), np.arange(4), np.zeros((4, 2, 2)), np.zeros((4, 2, 2, 1)), np.array([0.5, np.nan, 1, 2]),
     np.array(["a", "b", "a", "b"]), np.array([b"a", b"b"]), np.zeros(0), np.zeros((2,) * 6), np.array(1),
     np.array([1j, 2j]), np.array(["2020-01-01"], "M8[D]"), np.array([{}], dtype=object), np.ones((4, 3), np.float16)]
)  # fmt: skip


@fuzzed(0.25)
@given(
    arrays=st.dictionaries(st.sampled_from(["X", "y", "z"]), ARRAYS, max_size=3),
    place=st.floats(0, 1),
    change=st.binary(max_size=6),
    plain=st.binary(max_size=100) | st.none(),
)
def test_npz_files(folder: Path, arrays: dict[str, Any], place: float, change: bytes, plain: bytes | None) -> None:
    TRIED["npz files"] += 1
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    content = buffer.getvalue() if plain is None else plain
    at = int(place * len(content))
    path = folder / "data.npz"
    path.write_bytes(content[:at] + change + content[at + len(change) :])
    try:
        found = read_npz(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert len(found.images) == len(found.labels)


def test_all_were_tried(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:6} {what}" for what, count in TRIED.items()))
    assert TRIED.total() >= INPUTS
