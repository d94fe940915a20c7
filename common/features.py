"""From raw images to what a network is given: resize, scale, PCA, in that order, learned from training rows only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from config import UserError

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

Scaling = Literal["unit", "standard", "none"]
FloatArray = npt.NDArray[np.float64]

# Rows converted at a time: the float64 intermediates of 1024 images stay small beside the data set.
CHUNK_ROWS = 1024


class FeaturePipeline:
    """Resize, scale and project images; everything learned is learned from the rows given to `fit`.

    Parameters
    ----------
    scaling : {"unit", "standard", "none"}
        "unit" divides by `max_value`; "standard" subtracts each pixel's mean and divides by its standard deviation
        (by 1 where a pixel never varies).
    input_size : int or None
        Height and width to resample square images to, each output pixel the mean over the area it covers.
    pca : int or None
        Number of principal components to project to.
    max_value : float
        The raw value that "unit" maps to 1.
    """

    def __init__(self, scaling: Scaling, input_size: int | None, pca: int | None, max_value: float) -> None:
        self.scaling = scaling
        self.input_size = input_size
        self.pca = pca
        self.max_value = max_value
        self._image_shape: tuple[int, ...] | None = None
        self._offset: FloatArray | float = 0.0
        self._divisor: FloatArray | float = max_value if scaling == "unit" else 1.0
        self._projection: PCA | None = None

    def fit(self, images: npt.NDArray[Any]) -> FeaturePipeline:
        """Learn means, deviations and components.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, channels)
            Training rows, raw.

        Returns
        -------
        FeaturePipeline
            This object.

        Raises
        ------
        UserError
            If images that are not square are to be resized, or more components are wanted than there can be.
        """
        self.output_shape(images.shape[1:], len(images))
        self._image_shape = images.shape[1:]
        if self.scaling == "standard":
            self._fit_standard(images)
        if self.pca is not None:
            self._fit_pca(images, self.pca)
        return self

    def transform(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Turn raw images into network input.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, channels)
            Raw images of the shape that was fitted.

        Returns
        -------
        ndarray of float32, shape (n, height, width, channels), or (n, pca) after PCA
            C-contiguous, newly allocated.

        Raises
        ------
        UserError
            If the images have another shape than those fitted.
        RuntimeError
            If nothing was fitted.
        """
        if self._image_shape is None:
            raise RuntimeError("FeaturePipeline.transform before fit")
        if images.shape[1:] != self._image_shape:
            raise UserError(f"images of shape {images.shape[1:]}, expected {self._image_shape} as in training")
        features = np.empty((len(images), *self._shape(self._image_shape)), dtype=np.float32)
        for rows, chunk in self._scaled(images):
            flat = chunk.reshape(len(chunk), -1)
            features[rows] = chunk if self._projection is None else self._projection.transform(flat)
        return features

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what `transform` computes with, for whoever computes it elsewhere.

        Returns
        -------
        dict of ndarray
            ``resize`` (size, side), by which rows and columns are multiplied where images are resized; ``offset`` and
            ``divisor``, of one number or of one a pixel; ``mean`` (pixels,) and ``components`` (pca, pixels) after PCA.
        """
        if self._image_shape is None:
            raise RuntimeError("FeaturePipeline.arrays before fit")
        found = {"offset": np.asarray(self._offset), "divisor": np.asarray(self._divisor)}
        if self.input_size is not None and self.input_size != self._image_shape[0]:
            found["resize"] = area_weights(self._image_shape[0], self.input_size)
        if self._projection is not None:
            found |= {"mean": self._projection.mean_, "components": self._projection.components_}
        return found

    def output_shape(self, image_shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
        """Shape of one network input, without reading any image.

        Parameters
        ----------
        image_shape : (height, width, channels) of the raw images.
        rows : training rows there will be.

        Raises
        ------
        UserError
            If images that are not square are to be resized, or more components are wanted than there can be.
        """
        height, width = image_shape[:2]
        if self.input_size is not None and height != width:
            raise UserError(
                f"input_size: {self.input_size}, but images of {height}x{width} are not square: leave it out"
            )
        pixels = math.prod(self._resized_shape(image_shape))
        if self.pca is not None and self.pca > min(rows, pixels):
            raise UserError(
                f"pca: {self.pca} components of {rows} training rows with {pixels} features: "
                f"expected at most {min(rows, pixels)}"
            )
        return self._shape(image_shape)

    def _shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._resized_shape(image_shape) if self.pca is None else (self.pca,)

    def _resized_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        return image_shape if self.input_size is None else (self.input_size, self.input_size, image_shape[2])

    def _fit_standard(self, images: npt.NDArray[Any]) -> None:
        # Two passes: the sum of squares minus the squared sum loses digits.
        mean = sum(chunk.sum(axis=0) for _, chunk in self._resized(images)) / len(images)
        variance = sum(((chunk - mean) ** 2).sum(axis=0) for _, chunk in self._resized(images)) / len(images)
        deviation = np.sqrt(variance)
        # A pixel that never varies has a deviation of rounding errors, not always of exactly 0.
        self._offset, self._divisor = mean, np.where(deviation <= 1e-9 * np.abs(mean), 1.0, deviation)

    def _fit_pca(self, images: npt.NDArray[Any], components: int) -> None:
        from sklearn.decomposition import PCA

        flat = np.empty((len(images), math.prod(self._resized_shape(images.shape[1:]))))
        for rows, chunk in self._scaled(images):
            flat[rows] = chunk.reshape(len(chunk), -1)
        # The covariance needs no copy of the data, but is quick only where there are more rows than features.
        solver = "covariance_eigh" if len(flat) >= flat.shape[1] else "full"
        self._projection = PCA(components, svd_solver=solver).fit(flat)

    def _scaled(self, images: npt.NDArray[Any]) -> Iterator[tuple[slice, FloatArray]]:
        for rows, chunk in self._resized(images):
            yield rows, (chunk - self._offset) / self._divisor

    def _resized(self, images: npt.NDArray[Any]) -> Iterator[tuple[slice, FloatArray]]:
        size, side = self.input_size, images.shape[1]
        weights = area_weights(side, size) if size is not None and size != side else None
        for start in range(0, len(images), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            chunk = images[rows].astype(np.float64)
            if weights is not None:
                chunk = np.einsum("yh,nhwc,xw->nyxc", weights, chunk, weights, optimize=True)
            yield rows, chunk


def area_weights(size_in: int, size_out: int) -> FloatArray:
    """Weights that resample one axis by area.

    Parameters
    ----------
    size_in, size_out : int
        Pixels along the axis before and after.

    Returns
    -------
    ndarray of float64, shape (size_out, size_in)
        Row i holds the share of each input pixel in the stretch that output pixel i covers; rows sum to 1.
    """
    # In units of 1 / (size_in * size_out) of the axis all edges are whole numbers, so the overlaps are exact.
    out_edges = np.arange(size_out + 1)[:, np.newaxis] * size_in
    in_edges = np.arange(size_in + 1)[np.newaxis, :] * size_out
    overlap = np.minimum(out_edges[1:], in_edges[:, 1:]) - np.maximum(out_edges[:-1], in_edges[:, :-1])
    weights: FloatArray = np.maximum(overlap, 0) / size_in
    return weights
