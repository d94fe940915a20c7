"""The feed-forward family as a keras.Model."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops

from config import Activation, FeedForward


@keras.saving.register_keras_serializable(package="samenet")
def leaky_relu(x: Any) -> Any:
    """Return x where positive, else 0.01 x; Keras's own passes the slope through float32 on its way to float64."""
    return ops.maximum(x, 0.01 * x)


@keras.saving.register_keras_serializable(package="samenet")
def gelu(x: Any) -> Any:
    """Return the exact GELU (Hendrycks and Gimpel, 2016); Keras's own on TensorFlow passes a constant through float32."""
    return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))


@keras.saving.register_keras_serializable(package="samenet")
def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)); PyTorch's own, which Keras takes there, is x above 20, which leaves out 2e-9."""
    return ops.maximum(x, 0) + ops.log1p(ops.exp(-ops.abs(x)))


_ACTIVATIONS: dict[Activation, Any] = {
    "identity": "linear",
    "leaky_relu": leaky_relu,
    "gelu": gelu,
    "softplus": softplus,
}
"""Where Keras's name or arithmetic is another."""


def feed_forward(spec: FeedForward, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return the network of `spec`: (rows, *input_shape) to logits (rows, classes)."""
    inputs = keras.Input(input_shape, name="inputs")
    x = layers.Flatten(name="flatten")(inputs)
    for number, (size, activation) in enumerate(zip(spec.hidden_layer_sizes, spec.activations, strict=True)):
        x = layers.Dense(size, name=f"hidden_{number}")(x)
        if spec.batch_norm:
            x = layers.BatchNormalization(name=f"batch_norm_{number}")(x)
        x = layers.Activation(_ACTIVATIONS.get(activation, activation), name=f"activation_{number}")(x)
        if spec.dropout:
            x = layers.Dropout(spec.dropout, name=f"dropout_{number}")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="ffn")
