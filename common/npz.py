"""Reader of a user's own data: FILE.npz with arrays X and y."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from config import UserError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class NpzContent:
    """Checked content of a user's file, in the terms of `common.data.Dataset`."""

    images: Array
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    max_value: float


def read_npz(path: Path) -> NpzContent:
    """Read and check a user's images and labels.

    Parameters
    ----------
    path : Path
        File with X, (n, features), (n, height, width) or (n, height, width, channels), and y, (n,): any labels.

    Returns
    -------
    NpzContent
        images (n, height, width, channels), uint8 where the values are whole and fit, else float32; rows of a square
        number of features become square images, others images of height 1. labels (n,), 0 to classes - 1 in the
        order of the sorted original labels.

    Raises
    ------
    UserError
        If the file or a field is not what is expected.
    """
    X, y = _arrays(path)
    labels, class_names = _labels(path, y)
    if len(X) != len(labels):
        raise UserError(f"{path}: X has {len(X)} rows, y has {len(labels)}: expected as many labels as images")
    values, max_value = _values(path, X)
    return NpzContent(values.reshape(_image_shape(path, values.shape)), labels, class_names, max_value)


def _arrays(path: Path) -> tuple[Array, Array]:
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not an .npz file: write one with numpy.savez_compressed({path.name!r}, X=X, y=y)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = {"X", "y"} - set(archive.files)
            if missing:
                found = ", ".join(archive.files) or "nothing"
                raise UserError(f"{path}: expected arrays X and y, found {found}")
            return _field(path, archive, "X"), _field(path, archive, "y")
    except UserError:
        raise
    except Exception as error:  # NumPy and zipfile answer damage with a dozen kinds of them
        raise UserError(f"{path}: cannot be read ({error}): replace it by an intact .npz file") from error


def _field(path: Path, archive: Any, field: str) -> Array:
    try:
        array: Array = archive[field]
    except MemoryError as error:
        raise UserError(f"{path}: {field} does not fit into memory ({error})") from error
    except Exception as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path}: {field} holds Python objects: convert it with numpy to numbers or text"
            ) from error
        raise UserError(f"{path}: {field} is damaged ({error})") from error
    if array.ndim == 0:
        raise UserError(f"{path}: {field} is a single value, expected one for each image")
    if array.size == 0:
        raise UserError(f"{path}: {field} is empty (shape {array.shape})")
    return array


def _labels(path: Path, y: Array) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise UserError(f"{path}: y has shape {y.shape}, expected (n,): one label a row (for one-hot, y.argmax(1))")
    if y.dtype.kind == "f":
        odd = int(np.count_nonzero(~np.isfinite(y) | (y != np.round(y))))
        if odd:
            raise UserError(f"{path}: y has {odd} values that are not whole numbers: expected class labels")
    elif y.dtype.kind not in "biuUS":
        raise UserError(f"{path}: y has type {y.dtype}, expected whole numbers or text")
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"{path}: y has one class only ({_class_name(classes[0])}), expected at least two")
    return labels.astype(np.int64), tuple(_class_name(value) for value in classes)


def _class_name(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(int(value)) if isinstance(value, np.floating) else str(value)


def _values(path: Path, X: Array) -> tuple[Array, float]:
    """X as uint8 or float32, and the value that unit scaling takes as 1."""
    if X.dtype.kind not in "biuf":
        raise UserError(f"{path}: X has type {X.dtype}, expected numbers")
    low, high = float(X.min()), float(X.max())
    if X.dtype.kind in "biu" and low >= 0 and high <= 255:
        return X.astype(np.uint8), 255.0 if high > 1 else 1.0
    with np.errstate(over="ignore"):
        values = X.astype(np.float32)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise UserError(f"{path}: X has {bad} values that are NaN, infinite or beyond float32: remove or replace them")
    return values, max(abs(low), abs(high)) if low < 0 or high > 1 else 1.0


def _image_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        return (shape[0], side, side, 1) if side * side == shape[1] else (shape[0], 1, shape[1], 1)
    if len(shape) == 3:
        return (*shape, 1)
    if len(shape) != 4:
        raise UserError(
            f"{path}: X has shape {shape}, expected (n, features), (n, height, width) or (n, height, width, channels)"
        )
    if shape[1] in (1, 3) and shape[2] == shape[3] > 4:
        raise UserError(f"{path}: X has shape {shape}, which looks channels first: use X.transpose(0, 2, 3, 1)")
    return shape
