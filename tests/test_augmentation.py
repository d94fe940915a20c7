"""Augmentation: what a shift does, and that it is drawn for a seed and an epoch and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import backends
from common import augmentation, data
from common.augmentation import augmented, shifted, warped
from common.inputs import load_inputs
from config import Trial, expand


def trial(**training: Any) -> Trial:
    fields = {"backend": ["torch"], "dataset": ["digits"], "architecture": ["ffn:8"], "training.epochs": [3]}
    fields |= {f"training.{name}": [value] for name, value in training.items()}
    return expand([fields], backends.vocabulary())[0]


def inputs(spec: Trial) -> list[Any]:
    dataset = data.load("digits")
    loaded = load_inputs(spec, dataset)
    from common.initial import epochs

    plan = epochs(spec.training, len(loaded.labels["train"]), spec.seed)
    return [epoch.inputs for epoch in augmented(plan, spec, dataset.images, loaded)]


@pytest.mark.parametrize(("side", "most"), [(28, 2), (32, 2), (8, 1)])
def test_a_shift_moves_the_whole_image_by_up_to_a_fourteenth(side: int, most: int) -> None:
    images = np.zeros((2000, side, side, 1), np.uint8)
    images[:, side // 2, side // 2] = 200
    moved = shifted(images, np.random.default_rng(0))
    assert moved.shape == images.shape
    rows, down, right, _ = np.nonzero(moved)
    assert len(rows) == 2000, "a pixel was lost or doubled"
    ways = set(zip((down - side // 2).tolist(), (right - side // 2).tolist(), strict=True))
    assert ways == {(a, b) for a in range(-most, most + 1) for b in range(-most, most + 1)}


@pytest.mark.parametrize("vary", [shifted, warped])
def test_colours_move_together_and_zeros_come_in(vary: Any) -> None:
    images = np.full((50, 28, 28, 3), 9, np.uint8)
    images[..., 1] = 7
    moved = vary(images, np.random.default_rng(0))
    assert moved.dtype == np.uint8
    assert np.array_equal(moved[..., 0], moved[..., 2])
    assert np.array_equal(moved[..., 1] == 7, moved[..., 0] == 9)
    assert {0, 7, 9} <= set(np.unique(moved)) <= set(range(10))


def test_an_affine_image_is_rotated_scaled_sheared_and_moved_within_bounds() -> None:
    """What a line of points became is read from where its ends went: angle, length, and the middle's place."""
    images = np.zeros((500, 29, 29, 1), np.uint8)
    images[:, 14, 6:23] = 200
    varied = warped(images, np.random.default_rng(0))[..., 0].astype(float)
    weight = varied.sum(axis=(1, 2))
    rows, columns = np.arange(29)[:, None], np.arange(29)
    down, right = (varied * rows).sum(axis=(1, 2)) / weight, (varied * columns).sum(axis=(1, 2)) / weight
    assert max(abs(down - 14).max(), abs(right - 14).max()) < 2 * 1.3
    assert min(down.max() - 14, 14 - down.min(), right.max() - 14, 14 - right.min()) > 1.5
    across, up = columns - right[:, None, None], rows - down[:, None, None]
    angle = (varied * up * across).sum(axis=(1, 2)) / (varied * across**2).sum(axis=(1, 2))
    assert np.tan(np.deg2rad(8)) < abs(angle).max() < (np.tan(np.deg2rad(10)) + 0.1) * 1.1 / 0.9
    length = np.sqrt((varied * across**2).sum(axis=(1, 2)) / weight)
    assert length.max() / length.min() > 1.15


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((28, 28, 1), np.uint8), ((9, 13, 3), np.float32), ((1, 5, 1), np.uint8), ((130, 130, 3), np.uint8)],
)
def test_an_affine_image_is_the_one_that_scipy_makes(
    shape: tuple[int, ...], kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).uniform(0, 255, (150, *shape)).astype(kind)
    given: list[Any] = []

    def noted(part: Any, matrices: Any, offsets: Any) -> Any:
        given.extend(zip(matrices, offsets, strict=True))
        return resampled(part, matrices, offsets)

    resampled = augmentation._resampled
    monkeypatch.setattr(augmentation, "_resampled", noted)
    varied = warped(images, np.random.default_rng(0))
    for image, found, (matrix, offset) in zip(images, varied, given, strict=True):
        for channel in range(shape[2]):
            expected = ndimage.affine_transform(image[..., channel], matrix, offset, order=1)
            assert np.array_equal(found[..., channel], expected)


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_every_epoch_and_seed_has_draws_of_its_own_and_the_same_again(kind: str) -> None:
    first, again = inputs(trial(augmentation=kind)), inputs(trial(augmentation=kind))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    wider = trial(augmentation=kind).model_copy(update={"backend": "sklearn", "seed": 1})
    assert not np.array_equal(inputs(wider)[0], first[0])


def test_without_augmentation_epochs_have_no_inputs_of_their_own() -> None:
    assert inputs(trial()) == [None, None, None]
