"""Training images varied afresh in every epoch, the same way for every framework: the harness draws and applies it."""

from __future__ import annotations

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
    from scipy import ndimage

    rows, height, width, channels = images.shape
    angle, shear = rng.uniform(-ROTATION, ROTATION, rows), rng.uniform(-SCALE, SCALE, rows)
    scale = rng.uniform(1 - SCALE, 1 + SCALE, (rows, 2, 1))
    cosine, sine = np.cos(angle), np.sin(angle)
    matrices = scale * np.array([[cosine, shear - sine], [sine, cosine]]).transpose(2, 0, 1)
    most = np.array(_reach(height, width))
    middle = np.array([height - 1, width - 1]) / 2
    offsets = middle - matrices @ middle + rng.uniform(-most, most, (rows, 2))
    result = np.empty_like(images)
    for row in range(rows):
        for channel in range(channels):
            ndimage.affine_transform(
                images[row, :, :, channel],
                matrices[row],
                offsets[row],
                output=result[row, :, :, channel],
                order=1,
            )
    return result
