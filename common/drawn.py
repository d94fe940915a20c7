"""A drawn, scanned or photographed digit, prepared as the digits of MNIST were."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from common.features import FloatArray, area_weights
from config import UserError

_LUMA = np.array([0.299, 0.587, 0.114])
"""How bright red, green and blue are (ITU-R BT.601)."""
_LEAST_CONTRAST = 25.0
"""Of 255, by how much the strongest ink must differ from its background: a tenth."""


def prepare(image: npt.NDArray[np.uint8], side: int = 28, box: int = 20) -> npt.NDArray[np.uint8]:
    """Return a digit as MNIST has it: white on black, as large as its box allows, its center of mass in the middle.

    The digit is scaled, with its aspect kept and gray levels from antialiasing, to fit a box of 20 x 20 pixels, and
    placed in 28 x 28 so that its center of mass is in the middle, as LeCun, Cortes and Burges describe it ("The MNIST
    database of handwritten digits", http://yann.lecun.com/exdb/mnist/). An image whose edge is bright is taken for dark
    ink on bright ground, and inverted.

    Parameters
    ----------
    image : (h, w) gray, (h, w, 3) RGB or (h, w, 4) RGBA, which is laid over white; of any size.
    side : height and width of what is returned.
    box : the most that the digit's height and width may be; where it is `side`, the frame bounds the centering.

    Returns
    -------
    ndarray of uint8, shape (side, side)
        0 is ground, 255 the strongest ink.

    Raises
    ------
    UserError
        Where nothing stands out from the ground, or the array is no image.
    """
    ink = _cropped(_ink(_gray(image)))
    longest = max(ink.shape)
    height, width = (max(1, round(length * box / longest)) for length in ink.shape)
    # each pixel the mean over the area it covers: an image of the right size stays as it is
    digit = area_weights(ink.shape[0], height) @ ink @ area_weights(ink.shape[1], width).T
    framed = np.zeros((side, side))
    top, left = (_start(digit.sum(axis=1 - axis), side) for axis in (0, 1))
    framed[top : top + height, left : left + width] = digit
    return np.rint(framed).astype(np.uint8)


def ink_box(images: npt.NDArray[np.uint8]) -> int:
    """Return the height or width, whichever is larger, that the digits of a data set have: the median of all.

    Parameters
    ----------
    images : (n, h, w), 0 where there is no ink.
    """
    return round(float(np.median(np.maximum(*(_extent(images.any(axis=axis)) for axis in (1, 2))))))


def _extent(there: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return for each row how far it is from its first True to its last, both included."""
    return np.asarray(there.shape[1] - there[:, ::-1].argmax(axis=1) - there.argmax(axis=1))


def _gray(image: npt.NDArray[np.uint8]) -> FloatArray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise UserError(f"image: {image.dtype} of shape {image.shape}; give uint8 (h, w), (h, w, 3) or (h, w, 4)")
    if image.size == 0:
        raise UserError(f"image: its shape is {image.shape}; give at least one pixel")
    values = image.astype(np.float64)
    if image.ndim == 2:
        return values
    if image.shape[2] == 1:
        return values[:, :, 0]
    gray: FloatArray = values[:, :, :3] @ _LUMA
    if image.shape[2] == 4:
        opacity = values[:, :, 3] / 255
        gray = gray * opacity + 255 * (1 - opacity)
    return gray


def _ink(gray: FloatArray) -> FloatArray:
    """Return how much ink there is at each pixel, 0 to 255 where it is strongest: what stands out from the ground."""
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    ground = float(np.median(edge))
    noise = 6 * 1.4826 * float(np.median(np.abs(edge - ground)))  # six standard deviations: an image has many pixels
    if ground > 127:
        gray, ground = 255 - gray, 255 - ground
    above = np.where(gray - ground > noise, gray - ground, 0)
    strongest = float(above.max())
    if strongest < _LEAST_CONTRAST:
        raise UserError("image: there is no ink in it; draw a digit that stands out from its background")
    ink: FloatArray = above * (255 / strongest)
    return ink


def _cropped(ink: FloatArray) -> FloatArray:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _start(mass: FloatArray, side: int) -> int:
    """Return where `mass` along an axis begins so that its center is in the middle of `side`, or as near as it fits."""
    center = float(mass @ np.arange(len(mass))) / float(mass.sum())
    return min(max(0, round((side - 1) / 2 - center)), side - len(mass))
