"""Lightweight attention networks of single-weight neurons, as a keras.Model: see :mod:`backends.models.torch_attention`.

A dash in a layer's name stands where the module of the same network in PyTorch has a dot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from backends.models.attention import Size, offsets
from backends.models.keras_layers import convolution
from config import Scalar

ARCHITECTURES = {
    "attention_2k": {
        "kernel": 5,
        "stem": 8,
        "middle": 8,
        "width": 16,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 6,
        "scores": "content",
    },
    "attention_5k": {
        "kernel": 5,
        "stem": 16,
        "middle": 16,
        "width": 32,
        "heads": 4,
        "blocks": 1,
        "pooling_queries": 8,
        "scores": "content",
    },
}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return the network `name`, as :func:`backends.models.torch_attention.build` does."""
    size = Size.of(name, options, input_shape)
    inputs = keras.Input(input_shape, name="inputs")
    x = layers.Reshape((size.positions, size.width), name="positions")(_stem(inputs, size))
    for number in range(size.blocks):
        x = _block(x, size, f"blocks-block_{number}")
    pooled = AttentionPooling(size.queries, size.content, size.position, name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(pooled), name=name)


def _stem(x: Any, size: Size) -> Any:
    if size.shrink > 1:
        x = layers.AveragePooling2D(size.shrink, padding="same", name="stem-shrink")(x)
    x = layers.ReLU(name="stem-relu_0")(convolution(x, size.stem, size.kernel, size.strides[0], name="stem-conv_0"))
    x = convolution(x, size.stem, size.kernel, depthwise=True, name="stem-depthwise_1")
    x = layers.ReLU(name="stem-relu_1")(convolution(x, size.middle, 1, name="stem-pointwise_1"))
    if size.strides[1] > 1:
        x = layers.MaxPooling2D(2, padding="same", name="stem-pool_1")(x)
    x = convolution(x, size.middle, 3, depthwise=True, name="stem-depthwise_2")
    return layers.ReLU(name="stem-relu_2")(convolution(x, size.width, 1, name="stem-pointwise_2"))


def _block(x: Any, size: Size, name: str) -> Any:
    gathered = SingleWeight(name=f"{name}-value")(x)
    if size.scores == "uniform":
        gathered = layers.Lambda(_mean, name=f"{name}-mean")(gathered)
    elif size.scores != "none":
        parts = [gathered]
        if size.content:
            parts += [SingleWeight(name=f"{name}-query")(x), SingleWeight(bias=False, name=f"{name}-key")(x)]
        gathered = RelativeAttention(size.heads, size.grid, size.position, name=f"{name}-attend")(parts)
    rectified = layers.ReLU(name=f"{name}-relu")(layers.Add(name=f"{name}-add")([x, gathered]))
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}-norm")(rectified)


@keras.saving.register_keras_serializable(package="samenet")
def _mean(x: Any) -> Any:
    return ops.mean(x, axis=1, keepdims=True)


@keras.saving.register_keras_serializable(package="samenet")
class SingleWeight(layers.Layer):
    """One neuron a channel, each with one weight and at most one bias; (..., width) to (..., width)."""

    def __init__(self, bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.has_bias = bias

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.weight = self.add_weight(name="weight", shape=shape[-1:], initializer="ones")
        if self.has_bias:
            self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer="zeros")

    def call(self, x: Any) -> Any:
        """Return w * x + b."""
        return x * self.weight + self.bias if self.has_bias else x * self.weight

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bias": self.has_bias}


@keras.saving.register_keras_serializable(package="samenet")
class RelativeAttention(layers.Layer):
    """Softmax attention by heads, with a learned bias for each head and offset between two positions of a grid."""

    def __init__(self, heads: int, grid: tuple[int, int], position: bool, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.grid, self.position = heads, tuple(grid), position

    def build(self, _: object) -> None:
        height, width = self.grid
        if self.position:
            shape = (self.heads, (2 * height - 1) * (2 * width - 1))
            self.relative_position = self.add_weight(name="relative_position", shape=shape, initializer="zeros")

    def call(self, inputs: list[Any]) -> Any:
        """Return the values each position gathers, (rows, positions, width), of values and perhaps queries and keys."""
        positions, width = inputs[0].shape[1:]
        size = width // self.heads
        value, *asked = (ops.transpose(ops.reshape(x, (-1, positions, self.heads, size)), (0, 2, 1, 3)) for x in inputs)
        scores: Any = 0
        if asked:
            scores = ops.matmul(asked[0] * np.sqrt(1 / size), ops.transpose(asked[1], (0, 1, 3, 2)))
        if self.position:
            bias = ops.take(self.relative_position, offsets(*self.grid).ravel(), axis=1)
            scores = scores + ops.reshape(bias, (1, self.heads, positions, positions))
        gathered = ops.matmul(ops.softmax(scores, axis=-1), value)
        return ops.reshape(ops.transpose(gathered, (0, 2, 1, 3)), (-1, positions, width))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "grid": self.grid, "position": self.position}


@keras.saving.register_keras_serializable(package="samenet")
class AttentionPooling(layers.Layer):
    """A weighted mean of the positions for each learned query; (rows, positions, width) to (rows, queries * width)."""

    def __init__(self, queries: int, content: bool, position: bool, **options: Any) -> None:
        super().__init__(**options)
        self.queries, self.content, self.position = queries, content, position

    def build(self, shape: tuple[int | None, ...]) -> None:
        if self.content:
            self.pool_query = self.add_weight(name="pool_query", shape=(self.queries, shape[2]), initializer="normal")
        if self.position:
            place = (self.queries, shape[1])
            self.pool_position = self.add_weight(name="pool_position", shape=place, initializer="normal")

    def call(self, x: Any) -> Any:
        """Return the means of all queries side by side; where nothing weighs the positions, their mean."""
        if not self.content and not self.position:
            return ops.mean(x, axis=1)
        width = x.shape[2]
        scores: Any = 0
        if self.content:
            scores = ops.matmul(self.pool_query * np.sqrt(1 / width), ops.transpose(x, (0, 2, 1)))
        if self.position:
            scores = scores + self.pool_position
        return ops.reshape(ops.matmul(ops.softmax(scores, axis=-1), x), (-1, self.queries * width))

    def get_config(self) -> dict[str, Any]:
        config = {"queries": self.queries, "content": self.content, "position": self.position}
        return {**super().get_config(), **config}
