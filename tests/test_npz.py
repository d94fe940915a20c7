"""Data of the user's own: npz files of every shape and kind of label, and one clear line for each mistake."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data import load
from config import UserError


def save(tmp_path: Path, **arrays: Any) -> str:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


Y = np.array([3, 7, 3, 7])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 49), (4, 7, 7, 1)),
        ((4, 30), (4, 1, 30, 1)),
        ((4, 5, 6), (4, 5, 6, 1)),
        ((4, 5, 6, 2), (4, 5, 6, 2)),
    ],
)
def test_npz_shapes(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape) % 256
    data = load(save(tmp_path, X=values, y=Y))
    assert (data.name, data.official_train) == ("mine", None)
    np.testing.assert_array_equal(data.images, values.reshape(expected))


@pytest.mark.parametrize(
    ("y", "labels", "names"),
    [
        (Y, [0, 1, 0, 1], ("3", "7")),
        (Y.astype(float)[:, np.newaxis], [0, 1, 0, 1], ("3", "7")),
        (["cat", "ant", "dog", "ant"], [1, 0, 2, 0], ("ant", "cat", "dog")),
        ([b"b", b"a", b"a", b"a"], [1, 0, 0, 0], ("a", "b")),
        ([True, False, True, True], [1, 0, 1, 1], ("False", "True")),
    ],
)
def test_npz_labels(tmp_path: Path, y: Any, labels: list[int], names: tuple[str, ...]) -> None:
    data = load(save(tmp_path, X=np.ones((4, 3)), y=y))
    assert data.labels.tolist() == labels
    assert data.class_names == names


@pytest.mark.parametrize(
    ("values", "dtype", "max_value"),
    [
        (np.array([0, 1]), np.uint8, 1.0),
        (np.array([0, 200]), np.uint8, 255.0),
        (np.array([0, 4095], np.uint16), np.float32, 4095.0),
        (np.array([-300, 100]), np.float32, 300.0),
        (np.array([0.0, 0.5]), np.float32, 1.0),
        (np.array([-2.0, 0.5]), np.float32, 2.0),
        (np.array([False, True]), np.uint8, 1.0),
    ],
)
def test_npz_value_ranges(tmp_path: Path, values: np.ndarray, dtype: type, max_value: float) -> None:
    data = load(save(tmp_path, X=np.tile(values, (4, 1)), y=Y))
    assert data.images.dtype == np.dtype(dtype)
    assert data.max_value == max_value


X = np.ones((4, 9))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X}, "expected arrays X and y, found X"),
        ({"X": X[:0], "y": Y}, r"X is empty \(shape \(0, 9\)\)"),
        ({"X": X, "y": Y[:3]}, "X has 4 rows, y has 3"),
        ({"X": X.astype(str), "y": Y}, "X has type <U32, expected numbers"),
        ({"X": X.astype(object), "y": Y}, "X holds Python objects"),
        ({"X": X * 1j, "y": Y}, "X has type complex128"),
        ({"X": np.array([[np.nan, 1], [np.inf, 1], [0, 1], [0, 1]]), "y": Y}, "X has 2 values that are NaN"),
        ({"X": X * 1e300, "y": Y}, "X has 36 values .* beyond float32"),
        ({"X": X[:, 0], "y": Y}, r"X has shape \(4,\)"),
        ({"X": np.ones((4, 3, 8, 8)), "y": Y}, "looks channels first"),
        ({"X": X, "y": Y * 0}, r"y has one class only \(0\)"),
        ({"X": X, "y": Y + 0.5}, "y has 4 values that are not whole numbers"),
        ({"X": X, "y": Y * np.nan}, "y has 4 values that are not whole numbers"),
        ({"X": X, "y": np.eye(4)}, r"y has shape \(4, 4\), expected \(n,\)"),
        ({"X": X, "y": Y.astype("M8[s]")}, "y has type datetime64"),
    ],
)
def test_npz_mistakes_name_file_and_field(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = save(tmp_path, **arrays)
    with pytest.raises(UserError, match=f"mine.npz: .*{message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_npz_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file"):
        load(str(tmp_path / "absent.npz"))
    pickled = tmp_path / "pickled.npz"
    pickled.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match=r"pickled.npz: not an .npz file"):
        load(str(pickled))
    with pytest.raises(UserError, match=r"expected an .npz file"):
        load(str(tmp_path / "table.csv"))


def test_npz_cut_short_or_altered(tmp_path: Path) -> None:
    path = Path(save(tmp_path, X=np.random.default_rng(0).random((4, 900)), y=Y))
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:3000])
    with pytest.raises(UserError, match=r"mine.npz: "):
        load(str(path))
    content[2000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"X is damaged"):
        load(str(path))


def test_npz_that_announces_more_than_there_is(tmp_path: Path) -> None:
    header, labels = io.BytesIO(), io.BytesIO()
    shape = (10**9, 10**4)
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    np.save(labels, Y)
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", header.getvalue() + b"\0" * 64)
        archive.writestr("y.npy", labels.getvalue())
    with pytest.raises(UserError, match=r"mine.npz: X does not fit into memory"):
        load(str(path))
