"""What the fast network is made of in either framework: its stem's filters, and which images it pads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def padded(input_shape: tuple[int, ...]) -> bool:
    """Whether convolutions pad images (height, width, channels): large ones can spare the border that is eaten else."""
    return min(input_shape[:2]) < 16


def filters(size: int, count: int) -> NDArray[np.float32]:
    """Return the `count` smoothest filters of the two-dimensional discrete cosine transform, and their negatives.

    Behind a ReLU the two keep both signs of a filter's answer.

    Parameters
    ----------
    size : pixels of a filter's side.
    count : at most ``size ** 2``.

    Returns
    -------
    ndarray
        (size, size, 2 * count), each filter of length 1 and at right angles to all others but its negative.

    Raises
    ------
    ValueError
        For more filters than there are.

    References
    ----------
    N. Ahmed, T. Natarajan and K. Rao, "Discrete cosine transform", IEEE Transactions on Computers C-23 (1974); as the
    filters of a convolution: M. Ulicny, V. Krylov and R. Dahyot, "Harmonic networks for image classification",
    BMVC (2019); a first layer that is not trained, with both signs: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a
    single GPU", arXiv:2404.00498 (2024).
    """
    if not 1 <= count <= size**2:
        raise ValueError(f"filters: {count} of {size}x{size} pixels; there are 1 to {size**2}")
    frequency = np.arange(size)
    waves = np.cos(np.pi * frequency[:, None] * (np.arange(size) + 0.5) / size)
    waves *= np.sqrt(np.where(frequency == 0, 1, 2) / size)[:, None]
    smoothest = sorted(np.ndindex(size, size), key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))[:count]
    kept = np.stack([np.outer(waves[down], waves[across]) for down, across in smoothest], axis=-1)
    return np.concatenate([kept, -kept], axis=-1, dtype=np.float32)  # the same numbers in every precision
