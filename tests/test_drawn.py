"""Drawings come out as MNIST's digits are: white on black, 20 pixels large, their center of mass in the middle."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image, ImageDraw

from common import data
from common.drawn import ink_box, ink_center, prepare
from config import UserError


def seven(size: tuple[int, int] = (280, 280), width: int = 20, offset: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Draw a seven, white on black, 100 pixels wide and 160 high; return (h, w) uint8."""
    image = Image.new("L", size[::-1])
    points = [(x + offset[1], y + offset[0]) for x, y in ((60, 50), (160, 50), (90, 210))]
    ImageDraw.Draw(image).line(points, fill=255, width=width, joint="curve")
    return np.array(image)


def center(image: np.ndarray) -> tuple[float, float]:
    mass = image / image.sum()
    return float(mass.sum(axis=1) @ np.arange(len(mass))), float(mass.sum(axis=0) @ np.arange(len(mass)))


def extent(image: np.ndarray) -> tuple[int, int]:
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


@pytest.mark.parametrize("width", [3, 12, 20, 40], ids=lambda width: f"pen of {width}")
def test_a_drawing_fills_the_box_and_its_mass_is_in_the_middle(width):
    found = prepare(seven(width=width))
    assert found.shape == (28, 28) and found.dtype == np.uint8
    assert max(extent(found)) == 20
    assert center(found) == (pytest.approx(14, abs=0.51), pytest.approx(14, abs=0.51))
    assert found[0, 0] == 0 and found.max() > 60
    assert len(np.unique(found)) > 10, "no gray levels: nothing was antialiased"


def test_the_aspect_stays():
    drawn = np.zeros((280, 280), np.uint8)
    drawn[40:240, 100:140] = 255
    assert extent(prepare(drawn)) == (20, 4)
    assert extent(prepare(drawn.T)) == (4, 20)
    thread = np.zeros((600, 600), np.uint8)
    thread[50:550, 300] = 255
    assert extent(prepare(thread)) == (20, 1)


def test_where_it_was_drawn_does_not_matter():
    here = prepare(seven())
    assert np.array_equal(prepare(seven(offset=(60, 90))), here)
    assert np.array_equal(prepare(seven(size=(500, 700), offset=(200, 400))), here)


def test_dark_on_bright_in_color_and_half_transparent_are_the_same_digit():
    drawn = seven()
    here = prepare(drawn)
    paper = 255 - drawn
    assert np.array_equal(prepare(paper), here)
    assert np.array_equal(prepare(np.stack([paper] * 3, axis=2)), here)
    assert np.array_equal(prepare(drawn[:, :, None]), here)
    transparent = np.zeros((280, 280, 4), np.uint8)  # black ink on nothing, as a canvas is
    transparent[:, :, 3] = drawn
    assert np.array_equal(prepare(transparent), here)
    blue = np.full((280, 280, 3), 255, np.uint8)
    blue[drawn > 127] = (20, 40, 200)
    assert np.abs(prepare(blue).astype(int) - here).max() < 60


def test_faint_ink_on_noisy_gray_paper_becomes_full_ink_on_black():
    rng = np.random.default_rng(0)
    paper = np.clip(170 + rng.normal(0, 4, (280, 280)) - 0.4 * seven(), 0, 255).astype(np.uint8)
    noisy, clean = prepare(paper), prepare(seven())
    assert center(noisy) == (pytest.approx(14, abs=0.6), pytest.approx(14, abs=0.6))
    assert noisy.max() > 200 and np.median(noisy) == 0
    assert np.corrcoef(noisy.ravel(), clean.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("value", [0, 128, 255])
def test_without_ink_there_is_no_digit(value):
    with pytest.raises(UserError, match="no ink"):
        prepare(np.full((40, 50), value, np.uint8))


@pytest.mark.parametrize(
    "image",
    [np.zeros((28, 28)), np.zeros(28, np.uint8), np.zeros((28, 28, 2), np.uint8), np.zeros((0, 5), np.uint8)],
    ids=["floats", "one axis", "two channels", "no pixels"],
)
def test_what_is_no_image_is_the_users_mistake(image):
    with pytest.raises(UserError, match="image: "):
        prepare(image)


def test_other_squares_are_framed_likewise():
    found = prepare(seven(), 8, 8, 3.5)
    assert found.shape == (8, 8) and max(extent(found)) == 8
    large = prepare(seven(), 56, 40, 28)
    assert extent(large)[0] == 40
    assert center(large) == (pytest.approx(28, abs=0.51), pytest.approx(28, abs=0.51))


def test_a_data_set_frames_as_most_of_its_digits_are_framed():
    digits = data.load("digits").images[..., 0]
    assert (ink_box(digits), ink_center(digits)) == (8, 3.5)
    drawn = np.stack([prepare(seven(width=width)) for width in (10, 20, 30)])
    assert (ink_box(drawn), ink_center(drawn)) == (20, 14)


@pytest.mark.mnist
@pytest.mark.skipif("SAMENET_DATA_DIR" not in os.environ, reason="needs the real MNIST")
def test_mnists_own_digits_come_back_nearly_unchanged():
    images = data.load("mnist").images[-1000:, :, :, 0]
    assert (ink_box(images), ink_center(images)) == (20, 14)
    differences, rng = [], np.random.default_rng(0)
    for image in images:
        canvas = np.zeros((300, 400), np.uint8)
        top, left = rng.integers(0, 272), rng.integers(0, 372)
        canvas[top : top + 28, left : left + 28] = image
        differences.append(np.abs(prepare(canvas).astype(int) - image).mean())
    assert np.mean(np.array(differences) == 0) > 0.9, "nine of ten are not the very pixels"
    assert np.mean(np.array(differences) < 1) > 0.99
