"""Training images varied afresh in every epoch, the same way for every framework: the harness draws and applies it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from backends.base import Array, Epoch
from common.inputs import TrialData
from common.seeding import generator
from config import Trial, number_format

SHIFT_PART = 14
"""Images move by up to one part in so many of their side (2 pixels of 28), and by 1 pixel at least."""

ROTATION, SCALE = np.deg2rad(10), 0.1
"""Images rotate by up to so many radians, and scale and shear by up to one part in ten."""

IN_CACHE = 50_000
"""Values resampled at a time: what is worked out of them on the way stays in the processor's cache."""


def augmented(plan: Iterable[Epoch], trial: Trial, images: Array, data: TrialData) -> Iterator[Epoch]:
    """Give each epoch inputs of its own; without augmentation the epochs are as they were.

    Draws depend on the rows, the seed and the epoch's number alone, never on backend or architecture.

    Parameters
    ----------
    images : (n, height, width, channels) raw images of the pooled data set.
    data : whose training rows are varied, and whose pipeline, fitted on them as they are, makes inputs of them.
    """
    if trial.training.augmentation == "none":
        yield from plan
        return
    images = images[data.indices.train]
    varied = {"shift": shifted, "affine": warped}[trial.training.augmentation]
    for number, epoch in enumerate(plan):
        rng = generator("augmentation", len(images), trial.seed, number)
        inputs = data.pipeline.transform(varied(images, rng)).astype(number_format(trial.precision), copy=False)
        yield replace(epoch, inputs=inputs)


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Move each image by a whole number of pixels, drawn evenly for each direction; what comes in is 0.

    Parameters
    ----------
    images : (rows, height, width, channels).

    Returns
    -------
    ndarray
        As many images of the same size and type.
    """
    rows, height, width, _ = images.shape
    most = _reach(height, width)
    padded = np.pad(images, ((0, 0), *((reach, reach) for reach in most), (0, 0)))
    down, right = (rng.integers(0, 2 * reach + 1, rows) for reach in most)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    return np.moveaxis(windows[np.arange(rows), down, right], 1, 3)


def _reach(height: int, width: int) -> list[int]:
    """Return by how many pixels an image moves at most, down and right."""
    return [max(1, side // SHIFT_PART) for side in (height, width)]


def warped(images: Array, rng: np.random.Generator) -> Array:
    """Rotate, scale and shear each image around its middle, and move it as :func:`shifted` does, by parts of a pixel.

    All are drawn evenly. Pixels between pixels are interpolated linearly; what comes in is 0. Such distortions are as
    old as the data set (Simard et al., 2003, "Best practices for convolutional neural networks applied to visual
    document analysis").

    Parameters
    ----------
    images : (rows, height, width, channels).

    Returns
    -------
    ndarray
        As many images of the same size and type.
    """
    rows, height, width, _ = images.shape
    angle, shear = rng.uniform(-ROTATION, ROTATION, rows), rng.uniform(-SCALE, SCALE, rows)
    scale = rng.uniform(1 - SCALE, 1 + SCALE, (rows, 2, 1))
    cosine, sine = np.cos(angle), np.sin(angle)
    matrices = scale * np.array([[cosine, shear - sine], [sine, cosine]]).transpose(2, 0, 1)
    most = np.array(_reach(height, width))
    middle = np.array([height - 1, width - 1]) / 2
    offsets = middle - matrices @ middle + rng.uniform(-most, most, (rows, 2))
    result = np.empty_like(images)
    at_a_time = max(1, IN_CACHE // math.prod(images.shape[1:]))
    for first in range(0, rows, at_a_time):
        part = slice(first, first + at_a_time)
        result[part] = _resampled(images[part], matrices[part], offsets[part])
    return result


def _resampled(images: Array, matrices: Array, offsets: Array) -> Array:
    """Return for each pixel what its image has at `matrix` times its place plus `offset`, interpolated linearly.

    It is what ``scipy.ndimage.affine_transform`` does to one image at a time, in a fifth of the time or less: there,
    small images cost their calls.

    Parameters
    ----------
    images : (rows, height, width, channels).
    matrices : (rows, 2, 2), from a pixel's row and column to those it comes from.
    offsets : (rows, 2).
    """
    rows, height, width, channels = images.shape
    matrix, offset = matrices[..., None, None], offsets[..., None, None]
    row, column = np.arange(height)[:, None], np.arange(width)
    down = offset[:, 0] + matrix[:, 0, 0] * row + matrix[:, 0, 1] * column
    right = offset[:, 1] + matrix[:, 1, 0] * row + matrix[:, 1, 1] * column
    inside = (down >= 0) & (down <= height - 1) & (right >= 0) & (right <= width - 1)
    above, before = (np.where(inside, at, 0).astype(np.intp) for at in (down, right))
    below, behind = np.minimum(above + 1, height - 1), np.minimum(before + 1, width - 1)
    lower, further = (down - above)[..., None], (right - before)[..., None]
    pixels = images.reshape(-1, channels).astype(np.float64)
    first = (np.arange(rows) * height * width)[:, None, None]
    found = sum(
        part_of_row * part_of_column * pixels.take(first + at_row * width + at_column, axis=0)
        for at_row, part_of_row in ((above, 1 - lower), (below, lower))
        for at_column, part_of_column in ((before, 1 - further), (behind, further))
    )
    half = 0.5 if images.dtype.kind == "u" else 0  # for the nearest whole number
    return np.where(inside[..., None], found + half, 0).astype(images.dtype)
