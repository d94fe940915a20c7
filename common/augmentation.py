"""Training images varied afresh in every epoch, the same way for every framework: the harness draws and applies it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from backends.base import Array, Epoch
from common.inputs import TrialData
from common.seeding import generator
from config import Trial

SHIFT_PART = 14
"""Images move by up to one part in so many of their side (2 pixels of 28), and by 1 pixel at least."""


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
    for number, epoch in enumerate(plan):
        rng = generator("augmentation", len(images), trial.seed, number)
        inputs = data.pipeline.transform(shifted(images, rng)).astype(trial.precision, copy=False)
        yield replace(epoch, inputs=inputs)


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Move each image by a whole number of pixels, drawn evenly for each direction; what comes in is 0.

    Parameters
    ----------
    images : (rows, height, width, channels).
    """
    rows, height, width, _ = images.shape
    most = [max(1, side // SHIFT_PART) for side in (height, width)]
    padded = np.pad(images, ((0, 0), *((reach, reach) for reach in most), (0, 0)))
    down, right = (rng.integers(0, 2 * reach + 1, rows) for reach in most)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    return np.moveaxis(windows[np.arange(rows), down, right], 1, 3)
