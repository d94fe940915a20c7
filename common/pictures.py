"""Pictures from files (PNG, JPEG, .npy, folders of them), made what a model was trained on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.drawn import prepare
from config import UserError

MOST_PIXELS = 50_000_000
"""A photograph of 50 megapixels is the largest that is decoded."""
_LONGEST = 2000
"""Larger ones are made smaller, by whole pixels, before anything else is computed with them."""
_FORMATS = ("PNG", "JPEG")


@dataclass(frozen=True)
class Wanted:
    """What a model takes.

    Attributes
    ----------
    image_shape : (height, width, channels).
    max_value : of a pixel.
    ink_box, ink_center : how large what is drawn is, and where its center of mass lies, where the images are of
        handwritten digits; None where they are not, and a picture is only resized.
    """

    image_shape: tuple[int, int, int]
    max_value: float
    ink_box: int | None
    ink_center: float | None


def files(names: Sequence[Path]) -> list[Path]:
    """Return the files named, and those in the folders named, in order of name; hidden ones are left out."""
    found: list[Path] = []
    for name in names:
        inside = sorted(path for path in name.iterdir() if path.is_file()) if name.is_dir() else [name]
        found += [path for path in inside if not (name.is_dir() and path.name.startswith("."))]
    return found


def read(path: Path, wanted: Wanted) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the images of a file by name, as they are: (h, w), (h, w, 3) or (h, w, 4).

    A file .npy may hold several: (n, h, w) or (n, h, w, channels), or rows of as many values as the model's images have.

    Raises
    ------
    UserError
        In one line, where the file is empty, damaged, too large or no image.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file")
    if not path.is_file():
        raise UserError(f"{path}: is no file")
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: is empty")
        found = _array(path, wanted) if path.suffix == ".npy" else [_decoded(path)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    return {str(path) if len(found) == 1 else f"{path}[{number}]": image for number, image in enumerate(found)}


def _decoded(path: Path) -> npt.NDArray[np.uint8]:
    """Return a picture as uint8, (h, w) or (h, w, 3) or (h, w, 4); its size is looked at before it is decoded."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=_FORMATS)
        with picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise UserError(_too_large(path, f"{width} x {height}"))
            picture.draft(None, (_LONGEST, _LONGEST))
            picture.load()
            shrink = max(picture.size) // _LONGEST
            whole = ImageOps.exif_transpose(picture)
            if whole.mode.startswith("I"):  # 16 bits
                whole = Image.fromarray((np.asarray(whole) // 257).astype(np.uint8))
            if whole.mode != "L":
                whole = whole.convert("RGBA" if whole.has_transparency_data else "RGB")
            return np.asarray(whole.reduce(shrink) if shrink > 1 else whole)
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: is no PNG, JPEG or .npy") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(_too_large(path, "it")) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow says of damaged files
        raise UserError(f"{path}: is damaged: {error}") from error


def _too_large(path: Path, size: str) -> str:
    return f"{path}: {size} is more than {MOST_PIXELS // 10**6} megapixels, and is not decoded; make it smaller"


def _array(path: Path, wanted: Wanted) -> list[npt.NDArray[np.uint8]]:
    """Return the images of a file .npy: numbers from 0 to 255 or as in the model's data, shares from 0 to 1, or truth."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # its header alone
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: is no array of numbers: {str(error).splitlines()[0]}") from error
    if array.ndim not in (2, 3, 4) or array.dtype.kind not in "buif" or not array.size:
        raise UserError(
            f"{path}: {array.dtype} of shape {array.shape}; give numbers (h, w), (h, w, channels) or (n, h, w)"
        )
    if array.size > MOST_PIXELS:
        raise UserError(_too_large(path, f"{array.size:,} values"))
    # a square is a picture, not as many rows as an image has pixels
    if array.ndim == 2 and array.shape[0] != array.shape[1] == math.prod(wanted.image_shape):
        array = array.reshape(-1, *wanted.image_shape)
    one = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    values = np.array(array[None] if one else array)
    if values.dtype.kind in "fb":
        if not np.isfinite(values).all():
            raise UserError(f"{path}: not all of its values are finite")
        values = values * (255.0 if values.max() <= 1 else 1.0)
    if 1 < values.max() <= wanted.max_value < 255:
        values = values * (255 / wanted.max_value)
    if values.min() < 0 or values.max() > 255:
        raise UserError(f"{path}: values from {values.min():g} to {values.max():g}; give 0 to 255, or 0 to 1")
    return list(np.rint(values).astype(np.uint8))


def prepared(image: npt.NDArray[np.uint8], wanted: Wanted) -> npt.NDArray[Any]:
    """Return an image as a model takes it, (height, width, channels), a digit prepared as those of its data set were.

    Raises
    ------
    UserError
        Where there is nothing in it.
    """
    height, width, channels = wanted.image_shape
    if wanted.ink_box is not None and wanted.ink_center is not None:
        found = prepare(image, height, wanted.ink_box, wanted.ink_center)[..., np.newaxis]
    else:
        found = _resized(image, height, width, channels)
    return found if wanted.max_value == 255 else found * (wanted.max_value / 255)


def _resized(image: npt.NDArray[np.uint8], height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """Return a picture at another size, in gray or color, as the model has it."""
    from PIL import Image

    if channels not in (1, 3):
        raise UserError(f"the model takes images of {channels} channels, which no picture has")
    picture = Image.fromarray(image.squeeze(axis=2) if image.shape[2:] == (1,) else image)
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    picture = picture.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture).reshape(height, width, channels)
