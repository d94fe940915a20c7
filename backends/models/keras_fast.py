"""A convolutional network for accuracy in the least time on a CPU, as a keras.Model.

See :mod:`backends.models.torch_fast`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from backends.models import cosines
from config import Scalar

ARCHITECTURES = {"fast_cnn": {"kernel": 5, "filters": 12, "stride": 2, "width": 32, "hidden": 256}}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return the network, as :func:`backends.models.torch_fast.build` does."""
    kernel, count, stride, width, hidden = (int(options[option]) for option in ARCHITECTURES["fast_cnn"])
    padded = cosines.padded(input_shape)
    inputs = x = keras.Input(input_shape, name="inputs")
    if padded:
        x = layers.ZeroPadding2D(kernel // 2, name="pad")(x)  # Keras's "same" would pad by what the stride leaves over
    x = CosineFilters(kernel, count, stride, name="stem")(x)
    x = layers.Conv2D(width, 3, padding="same" if padded else "valid", use_bias=False, name="conv")(x)
    x = layers.MaxPooling2D(2, padding="same", name="pool")(x)
    x = layers.ReLU(name="conv_relu")(_norm("conv_norm")(x))
    x = layers.Dense(hidden, use_bias=False, name="hidden")(layers.Flatten(name="flatten")(x))
    x = layers.ReLU(name="hidden_relu")(_norm("hidden_norm")(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def _norm(name: str) -> Any:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)


@keras.saving.register_keras_serializable(package="samenet")
class CosineFilters(layers.Layer):
    """A convolution of every channel with :func:`backends.models.cosines.filters`, and ReLU; nothing is trained."""

    def __init__(self, kernel: int, filters: int, stride: int, **options: Any) -> None:
        super().__init__(**options)
        self.kernel, self.filters, self.stride = kernel, filters, stride

    def get_config(self) -> dict[str, Any]:
        """Return what a saved file makes the layer from."""
        return {**super().get_config(), "kernel": self.kernel, "filters": self.filters, "stride": self.stride}

    @property
    def flops(self) -> int:
        """FLOPs of a sample, two a multiply-add."""
        return int(2 * math.prod(self.output.shape[1:]) * self.kernel**2)

    def call(self, x: Any) -> Any:
        """Return (rows, height, width, 2 * filters * channels)."""
        kernel = cosines.filters(self.kernel, self.filters)[:, :, None, :].repeat(x.shape[-1], axis=2)
        return ops.relu(ops.depthwise_conv(x, ops.convert_to_tensor(kernel, x.dtype), self.stride, "valid"))
