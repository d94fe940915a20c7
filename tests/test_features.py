"""Features: known answers for resize, scaling and PCA, and nothing learned from rows not given to fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common import features
from common.features import FeaturePipeline, area_weights
from config import UserError


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1)).astype(np.uint8)


def pipeline(**changes: Any) -> FeaturePipeline:
    return FeaturePipeline(**({"scaling": "none", "input_size": None, "pca": None, "max_value": 255.0} | changes))


def test_halving_is_the_mean_of_2x2_blocks(images: np.ndarray) -> None:
    resized = pipeline(input_size=14).fit(images).transform(images)
    blocks = images.reshape(40, 14, 2, 14, 2, 1).mean(axis=(2, 4))
    assert resized.shape == (40, 14, 14, 1)
    np.testing.assert_array_equal(resized, blocks.astype(np.float32))


def test_resize_to_a_size_that_does_not_divide() -> None:
    np.testing.assert_allclose(area_weights(3, 2), np.array([[2, 1, 0], [0, 1, 2]]) / 3, rtol=1e-15)
    np.testing.assert_allclose(area_weights(2, 3), np.array([[2, 0], [1, 1], [0, 2]]) / 2, rtol=1e-15)


def test_resize_keeps_rows_columns_and_channels_apart() -> None:
    ramp = np.zeros((1, 4, 4, 2), np.uint8)
    ramp[0, :, :, 0] = np.arange(4)[:, None] * 10  # varies down the rows in channel 0 only
    resized = pipeline(input_size=2).fit(ramp).transform(ramp)
    np.testing.assert_array_equal(resized[0, :, :, 0], [[5, 5], [25, 25]])
    assert not resized[..., 1].any()


def test_enlarging_repeats_pixels(images: np.ndarray) -> None:
    enlarged = pipeline(input_size=56).fit(images).transform(images)
    np.testing.assert_array_equal(enlarged, images.repeat(2, axis=1).repeat(2, axis=2))


def test_unit_divides_by_the_largest_value(images: np.ndarray) -> None:
    scaled = pipeline(scaling="unit").fit(images).transform(images)
    np.testing.assert_array_equal(scaled, images.astype(np.float32) / np.float32(255))
    assert scaled.dtype == np.float32
    assert scaled.flags.c_contiguous


def test_standard_uses_mean_and_deviation_of_the_fitted_rows(images: np.ndarray) -> None:
    train, test = images[:30], images[30:]
    scaled = pipeline(scaling="standard").fit(train).transform(test)
    np.testing.assert_allclose(scaled, (test - train.mean(axis=0)) / train.std(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 200.0])
def test_standard_leaves_a_pixel_that_never_varies_at_zero(value: float) -> None:
    images = np.full((9, 2, 2, 1), value, np.float32)
    other = images + 1
    fitted = pipeline(scaling="standard").fit(images)
    np.testing.assert_allclose(fitted.transform(images), 0, atol=1e-6)
    np.testing.assert_allclose(fitted.transform(other), 1, rtol=1e-5)


def test_transform_learns_nothing(images: np.ndarray) -> None:
    fitted = pipeline(scaling="standard", pca=3).fit(images[:30])
    before = fitted.transform(images[30:])
    fitted.transform(images[30:] // 2)
    np.testing.assert_array_equal(fitted.transform(images[30:]), before)
    np.testing.assert_array_equal(fitted.transform(images[35:]), before[5:])


@pytest.mark.parametrize("size", [5, 28])  # 40 rows with 25 features, and with more features than rows
def test_pca_keeps_the_directions_of_most_variance(images: np.ndarray, size: int) -> None:
    fitted = pipeline(input_size=size, pca=4).fit(images)
    projected = fitted.transform(images)
    flat = pipeline(input_size=size).fit(images).transform(images).reshape(40, -1).astype(np.float64)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(flat.T)))[::-1][:4]
    np.testing.assert_allclose(projected.var(axis=0, ddof=1), eigenvalues, rtol=1e-4)
    assert projected.shape == (40, 4)
    assert projected.dtype == np.float32
    assert projected.flags.c_contiguous


def test_pca_signs_are_fixed(images: np.ndarray) -> None:
    first = pipeline(input_size=5, pca=4).fit(images).transform(images)
    shuffled = pipeline(input_size=5, pca=4).fit(images[::-1].copy()).transform(images)
    np.testing.assert_allclose(first, shuffled, rtol=1e-3, atol=1e-3)


def test_resize_comes_before_scale_and_scale_before_pca(images: np.ndarray) -> None:
    by_hand = pipeline(input_size=5).fit(images).transform(images).astype(np.float64)
    by_hand = ((by_hand - by_hand.mean(axis=0)) / by_hand.std(axis=0)).reshape(40, -1)
    projected = pipeline(input_size=5, scaling="standard", pca=1).fit(images).transform(images)
    largest = np.linalg.eigvalsh(np.cov(by_hand.T))[-1]
    assert projected.var(ddof=1) == pytest.approx(largest, rel=1e-4)


def test_chunks_do_not_show(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pipeline(scaling="standard", input_size=10).fit(images).transform(images)
    monkeypatch.setattr(features, "CHUNK_ROWS", 7)
    np.testing.assert_allclose(
        pipeline(scaling="standard", input_size=10).fit(images).transform(images), whole, atol=1e-5
    )


def test_more_components_than_rows_or_features(images: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"pca: 41 components of 40 training rows .* at most 40"):
        pipeline(pca=41).fit(images)
    with pytest.raises(UserError, match="at most 4"):
        pipeline(pca=5, input_size=2).fit(images)


def test_images_that_are_not_square_cannot_be_resized() -> None:
    with pytest.raises(UserError, match="input_size: 4, but images of 1x30 are not square"):
        pipeline(input_size=4).fit(np.zeros((3, 1, 30, 1), np.float32))


def test_transform_wants_what_was_fitted(images: np.ndarray) -> None:
    with pytest.raises(RuntimeError, match="before fit"):
        pipeline().transform(images)
    with pytest.raises(UserError, match=r"\(8, 8, 1\), expected \(28, 28, 1\)"):
        pipeline().fit(images).transform(np.zeros((1, 8, 8, 1), np.uint8))
