"""Splits: exact counts, nothing in two parts, and nothing that depends on anything but data, share and seed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.seeding import generator
from common.splits import Split, split
from config import UserError

ROOT = Path(__file__).resolve().parents[1]
LABELS = np.repeat(np.arange(3), [50, 30, 20])


def cut(labels: Any = LABELS, **changes: Any) -> Split:
    arguments: dict[str, Any] = {
        "official_train": None,
        "data_hash": "abc",
        "train_share": 0.7,
        "seed": 0,
        "validation": 0.1,
        "rows": None,
    }
    return split(labels, **(arguments | changes))


def counts(rows: np.ndarray, labels: np.ndarray = LABELS) -> list[int]:
    return [int(count) for count in np.bincount(labels[rows], minlength=labels.max() + 1)]


def test_counts_are_those_of_the_largest_remainder() -> None:
    parts = cut()
    # 70 training rows, 35 + 21 + 14; 7 of them validation: 3.5 + 2.1 + 1.4, the remaining row to class 0.
    assert counts(parts.validation) == [4, 2, 1]
    assert counts(parts.train) == [31, 19, 13]
    assert counts(parts.test) == [15, 9, 6]


def test_remainders_decide_before_class_order() -> None:
    labels = np.repeat(np.arange(3), [9, 9, 12])
    # 21 of 30: 6.3 + 6.3 + 8.4, so the last class gets the remaining row.
    assert counts(cut(labels, validation=0).train, labels) == [6, 6, 9]


def test_share_is_what_is_written_not_the_nearest_binary_number() -> None:
    labels = np.repeat(np.arange(2), 15)
    assert len(cut(labels, train_share=0.35, validation=0).train) == 11  # 10.5, where the float is below 0.35


def test_shares_are_drawn_apart() -> None:
    larger, smaller = cut(train_share=0.7, validation=0).train, cut(train_share=0.5, validation=0).train
    assert not set(smaller) <= set(larger)


@pytest.mark.parametrize("share", [0.1, 0.29, 0.5, 0.57, 0.9])
def test_total_is_the_share(share: float) -> None:
    labels = np.repeat(np.arange(4), 100)
    parts = cut(labels, train_share=share)
    assert len(parts.train) + len(parts.validation) == round(share * 400)


def test_parts_are_disjoint_complete_and_ascending() -> None:
    parts = cut()
    everything = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(everything.tolist()) == list(range(100))
    for rows in (parts.train, parts.validation, parts.test):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("change", [{"seed": 1}, {"data_hash": "abd"}, {"train_share": 0.71}])
def test_hash_share_and_seed_change_the_rows(change: dict[str, Any]) -> None:
    assert cut(**change).test.tolist() != cut().test.tolist()


def test_test_rows_do_not_depend_on_validation() -> None:
    assert cut(validation=0.3).test.tolist() == cut(validation=0.1).test.tolist()
    assert len(cut(validation=0).validation) == 0


def test_same_rows_in_another_process_with_other_draws_before() -> None:
    program = (
        "import numpy as np; np.random.seed(5); np.random.rand(3)\n"
        "from common.splits import split\n"
        "split(np.repeat(np.arange(2), 9), official_train=None, data_hash='x', train_share=.5, seed=3, validation=.4,"
        " rows=None)\n"
        "print(split(np.repeat(np.arange(3), [50, 30, 20]), official_train=None, data_hash='abc', train_share=0.7,"
        " seed=0, validation=0.1, rows=None).test.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(cut().test.tolist())


def test_rows_keeps_a_stratified_subset() -> None:
    parts = cut(rows=50)
    assert counts(np.concatenate([parts.train, parts.validation, parts.test])) == [25, 15, 10]
    assert len(parts.test) == 15


def test_more_rows_than_there_are_means_all() -> None:
    assert cut(rows=1000).train.tolist() == cut().train.tolist()


def test_official_split_keeps_its_parts() -> None:
    parts = cut(train_share=None, official_train=80, labels=np.arange(100) % 4)
    assert sorted([*parts.train, *parts.validation]) == list(range(80))
    assert parts.test.tolist() == list(range(80, 100))
    assert counts(parts.validation, np.arange(100) % 4) == [2, 2, 2, 2]


def test_official_split_takes_the_same_fraction_of_both_parts() -> None:
    labels = np.arange(100) % 4
    parts = cut(labels, train_share=None, official_train=80, rows=50)
    trained = np.concatenate([parts.train, parts.validation])
    assert trained.max() < 80 <= parts.test.min()
    assert counts(trained, labels) == [10, 10, 10, 10]
    assert sum(counts(parts.test, labels)) == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_share": None}, "^split: official, but this data set has no official split"),
        ({"train_share": 1.0}, "^split: a training share of 1.0"),
        ({"train_share": 0.001}, "^split: .* leaves class 0 without training rows"),
        ({"train_share": 0.99}, "^split: .* leaves class 1 without test rows"),
        ({"rows": 4}, "^rows: .* take more than 4 rows"),
        ({"rows": 1, "train_share": 0.3}, "^rows: "),
        ({"rows": -5}, "^rows: -5"),
        ({"validation": 1.0}, "^validation: "),
        ({"validation": 0.01}, "^split: .* without validation rows"),
    ],
)
def test_impossible_requests_name_field_and_fix(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cut(**changes)


def test_generator_known_answer() -> None:
    # Frozen: another stream would silently change every split and every initial weight.
    assert generator("split", "abc", 0.7, 0).integers(1000, size=4).tolist() == [821, 709, 960, 796]
    assert generator("a", 1).random() != generator("a", 2).random()
    assert generator("a", (1, 2)).random() == generator("a", [1, 2]).random()


def test_generator_refuses_what_has_no_canonical_form() -> None:
    with pytest.raises(TypeError):
        generator(np.int64(1))
    with pytest.raises(ValueError, match="JSON"):
        generator(float("nan"))
