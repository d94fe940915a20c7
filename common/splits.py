"""Which rows train, validate and test: stratified by class, the same for every backend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from common.seeding import generator
from config import UserError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers into the pooled data set, each part ascending, no row in two parts.

    Parameters
    ----------
    train : ndarray of int64, shape (n_train,)
        Rows to fit on, without those of validation.
    validation : ndarray of int64, shape (n_val,)
        Rows to choose by (early stopping, search).
    test : ndarray of int64, shape (n_test,)
        Rows to score on, once.
    """

    train: Indices
    validation: Indices
    test: Indices


def split(
    labels: Indices,
    *,
    official_train: int | None,
    data_hash: str,
    train_share: float | None,
    seed: int,
    validation: float,
    rows: int | None,
) -> Split:
    """Split a data set into training, validation and test rows.

    Every cut has exactly the rounded share of the rows, and its classes have the shares of the whole by the largest
    remainder. The test rows do not depend on `validation`.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Class of each row, 0 to classes - 1.
    official_train : int or None
        The first so many rows are the official training part.
    data_hash : str
        SHA-256 of the data; with share and seed, all that the choice of rows depends on.
    train_share : float or None
        Share of the rows for training, validation included; None for the official split.
    seed : int
        Seed of the choice; for the official split it chooses the validation rows.
    validation : float
        Share of the training part that becomes validation; 0 for none.
    rows : int or None
        Use a stratified subset of so many rows, with the official split so many of both parts together in the
        parts' proportion; None, or more than there are, for all.

    Returns
    -------
    Split
        The rows.

    Raises
    ------
    UserError
        If the data has no official split, or a class is left without rows in a part.
    """
    _check_request(official_train, train_share, validation, rows)
    rng = generator("split", data_hash, train_share, seed)
    keep = len(labels) if rows is None else min(rows, len(labels))
    if train_share is None:
        assert official_train is not None
        train_keep = _rounded(Fraction(keep * official_train, len(labels)))
        train = _cut(_by_class(labels, np.arange(official_train), rng), train_keep)[0]
        test = _cut(_by_class(labels, np.arange(official_train, len(labels)), rng), keep - train_keep)[0]
    else:
        kept = _cut(_by_class(labels, np.arange(len(labels)), rng), keep)[0]
        train, test = _cut(kept, _rounded(_exact(train_share) * keep))
    n_train = sum(map(len, train))
    held_out, fit = _cut(train, _rounded(_exact(validation) * n_train))
    parts = {"training": fit, "test": test} | ({"validation": held_out} if validation else {})
    _check_no_class_empty(parts, train_share, keep if keep < len(labels) else None)
    return Split(*(np.sort(np.concatenate(part)) for part in (fit, held_out, test)))


def _check_request(official_train: int | None, train_share: float | None, validation: float, rows: int | None) -> None:
    if train_share is None and official_train is None:
        raise UserError("split: official, but this data set has no official split: give a training share such as 0.8")
    if train_share is not None and not 0 < train_share < 1:
        raise UserError(f"split: a training share of {train_share}, expected more than 0 and less than 1")
    if not 0 <= validation < 1:
        raise UserError(f"validation: a share of {validation}, expected at least 0 and less than 1")
    if rows is not None and rows < 1:
        raise UserError(f"rows: {rows}, expected at least 1")


def _check_no_class_empty(parts: dict[str, list[Indices]], train_share: float | None, rows: int | None) -> None:
    for part, classes in parts.items():
        empty = [label for label, members in enumerate(classes) if not len(members)]
        if empty:
            field = "split" if rows is None else "rows"
            chosen = "the official split" if train_share is None else f"a training share of {train_share}"
            fix = "take another share or add data" if rows is None else f"take more than {rows} rows"
            raise UserError(f"{field}: {chosen} leaves class {empty[0]} without {part} rows: {fix}")


def _by_class(labels: Indices, candidates: Indices, rng: np.random.Generator) -> list[Indices]:
    """Rows of each class in random order; a class that is not among the candidates gets an empty array."""
    shuffled = rng.permutation(candidates)
    return [shuffled[labels[shuffled] == label] for label in range(int(labels.max()) + 1)]


def _cut(classes: list[Indices], total: int) -> tuple[list[Indices], list[Indices]]:
    """Return the first rows of each class, `total` together, and the others."""
    counts = _largest_remainder([len(members) for members in classes], total)
    pairs = list(zip(classes, counts, strict=True))
    return [members[:count] for members, count in pairs], [members[count:] for members, count in pairs]


def _largest_remainder(sizes: list[int], total: int) -> list[int]:
    """Return counts that add up to `total`, in proportion to `sizes`; equal remainders go to the lower class first."""
    n = max(sum(sizes), 1)
    counts = [size * total // n for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda label: -(sizes[label] * total % n))
    for label in by_remainder[: total - sum(counts)]:
        counts[label] += 1
    return counts


def _exact(share: float) -> Fraction:
    """Take the share as it is written: 0.7 means 7/10, not the nearest binary number."""
    return Fraction(repr(float(share)))


def _rounded(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
