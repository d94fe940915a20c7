"""The full-size networks that lightweight ones are held against, as keras.Models: an MLP, a CNN and a ResNet.

A dash in a layer's name stands where the module of the same network in PyTorch has a dot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from backends.models.keras_ffn import feed_forward
from backends.models.keras_layers import convolution
from config import FeedForward, Scalar

ARCHITECTURES = {
    "mlp": {"dropout": 0.2},
    "cnn": {"width": 32, "dropout": 0.25},
    "resnet": {"width": 16},
}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return the network `name`, as :func:`backends.models.torch_traditional.build` does."""
    if name == "mlp":
        hidden = FeedForward(
            hidden_layer_sizes=(512, 256), activations=("relu",) * 2, dropout=float(options["dropout"])
        )
        return feed_forward(hidden, input_shape, classes)
    inputs = keras.Input(input_shape, name="inputs")
    width = int(options["width"])
    x = _cnn(inputs, width, float(options["dropout"])) if name == "cnn" else _resnet(inputs, width)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def _cnn(x: Any, width: int, dropout: float) -> Any:
    for number, size in enumerate((width, 2 * width, 4 * width)):
        x = layers.Conv2D(size, 3, padding="same", name=f"features-conv_{number}")(x)
        x = layers.MaxPooling2D(2, name=f"features-pool_{number}")(x)
        x = layers.ReLU(name=f"features-relu_{number}")(x)  # behind the pooling, as PyTorch's has it
    x = layers.Dense(256, activation="relu", name="hidden")(layers.Flatten(name="flatten")(x))
    return layers.Dropout(dropout, name="dropout")(x)


def _resnet(x: Any, width: int) -> Any:
    x = layers.ReLU(name="stem-relu")(convolution(x, width, 3, name="stem"))
    channels = width
    for stage, size in enumerate((width, 2 * width, 4 * width)):
        for number in range(2):
            stride = 2 if stage and not number else 1
            x = _residual_block(x, size, stride, channels != size, f"blocks-stage_{stage}_block_{number}")
            channels = size
    return layers.GlobalAveragePooling2D(name="mean")(x)


def _residual_block(x: Any, width: int, stride: int, changes: bool, name: str) -> Any:
    shortcut = convolution(x, width, 1, stride, name=f"{name}-shortcut") if changes else x
    x = layers.ReLU(name=f"{name}-relu")(convolution(x, width, 3, stride, name=f"{name}-first"))
    x = layers.Add(name=f"{name}-add")([convolution(x, width, 3, name=f"{name}-second"), shortcut])
    return layers.ReLU(name=f"{name}-out")(x)
