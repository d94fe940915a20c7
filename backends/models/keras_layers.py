"""Layers that Keras has in another arithmetic than PyTorch, in PyTorch's: what several networks here need of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers


def convolution(x: Any, width: int, size: int, stride: int = 1, depthwise: bool = False, *, name: str) -> Any:
    """Return a convolution without bias, and batch normalization behind it.

    Keras pads ``same`` by what the stride leaves over, more at the end than at the beginning; here it is half the
    kernel on every side.
    """
    margin = size // 2
    if stride > 1 and margin:
        x = layers.ZeroPadding2D(margin, name=f"{name}-pad")(x)
    padding: Any = {"padding": "valid" if stride > 1 else "same", "use_bias": False, "name": f"{name}-conv"}
    if depthwise:
        x = layers.DepthwiseConv2D(size, stride, **padding)(x)
    else:
        x = layers.Conv2D(width, size, stride, **padding)(x)
    # a gain and a bias behind a depthwise convolution would do nothing: the pointwise one has the gain, its norm no bias
    affine = {"center": not depthwise, "scale": not depthwise}
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-3, **affine, name=f"{name}-norm")(x)


def shrunk(x: Any, size: int, *, name: str) -> Any:
    """Return the means of squares of `size` pixels; what the image leaves over below and at the right counts as it is.

    Keras pads ``same`` on every side, and its engines do not agree on what with.
    """
    sides = x.shape[1:3]
    over = [(0, -side % size) for side in sides]
    x = layers.ZeroPadding2D(over, name=f"{name}-pad")(x)
    x = layers.AveragePooling2D(size, name=name)(x)
    if not any(behind for _, behind in over):
        return x
    rows, columns = (np.minimum(size, side - np.arange(0, side, size)) for side in sides)
    return layers.Rescaling((size**2 / np.outer(rows, columns))[..., None].tolist(), name=f"{name}-scale")(x)
