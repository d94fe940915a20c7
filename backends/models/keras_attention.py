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

ARCHITECTURES = {"attention_5k": {"width": 32, "heads": 4, "blocks": 1, "pooling_queries": 3}}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return the network `name`, as :func:`backends.models.torch_attention.build` does."""
    size = Size.of(name, options, input_shape)
    inputs = keras.Input(input_shape, name="inputs")
    x = _stem(inputs, size)
    x = layers.Reshape((size.grid[0] * size.grid[1], size.width), name="positions")(x)
    for number in range(size.blocks):
        x = _block(x, size, f"blocks-block_{number}")
    pooled = AttentionPooling(size.queries, name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(pooled), name=name)


def _stem(x: Any, size: Size) -> Any:
    narrow, width = size.width // 2, size.width
    if size.shrink > 1:
        x = layers.AveragePooling2D(size.shrink, padding="same", name="stem-shrink")(x)
    x = layers.ReLU(name="stem-relu_0")(convolution(x, narrow, 5, size.strides[0], name="stem-conv_0"))
    for number, (kernel, stride) in enumerate([(5, size.strides[1]), (3, 1)], start=1):
        x = convolution(x, 0, kernel, stride, depthwise=True, name=f"stem-depthwise_{number}")
        x = layers.ReLU(name=f"stem-relu_{number}")(convolution(x, width, 1, name=f"stem-pointwise_{number}"))
    return x


def _block(x: Any, size: Size, name: str) -> Any:
    query = SingleWeight(name=f"{name}-query")(x)
    key = SingleWeight(bias=False, name=f"{name}-key")(x)
    value = SingleWeight(name=f"{name}-value")(x)
    gathered = RelativeAttention(size.heads, size.grid, name=f"{name}-attend")([query, key, value])
    rectified = layers.ReLU(name=f"{name}-relu")(layers.Add(name=f"{name}-add")([x, gathered]))
    return layers.LayerNormalization(epsilon=1e-5, name=f"{name}-norm")(rectified)


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

    def __init__(self, heads: int, grid: tuple[int, int], **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.grid = heads, tuple(grid)

    def build(self, _: object) -> None:
        height, width = self.grid
        shape = (self.heads, (2 * height - 1) * (2 * width - 1))
        self.relative_position = self.add_weight(name="relative_position", shape=shape, initializer="zeros")

    def call(self, inputs: list[Any]) -> Any:
        """Return the values each position gathers, (rows, positions, width) like query, key and value."""
        positions, width = inputs[0].shape[1:]
        size = width // self.heads
        query, key, value = (
            ops.transpose(ops.reshape(x, (-1, positions, self.heads, size)), (0, 2, 1, 3)) for x in inputs
        )
        bias = ops.take(self.relative_position, offsets(*self.grid).ravel(), axis=1)
        scores = ops.matmul(query * np.sqrt(1 / size), ops.transpose(key, (0, 1, 3, 2)))
        weights = ops.softmax(scores + ops.reshape(bias, (self.heads, positions, positions)), axis=-1)
        return ops.reshape(ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3)), (-1, positions, width))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "grid": self.grid}


@keras.saving.register_keras_serializable(package="samenet")
class AttentionPooling(layers.Layer):
    """A weighted mean of the positions for each learned query; (rows, positions, width) to (rows, queries * width)."""

    def __init__(self, queries: int, **options: Any) -> None:
        super().__init__(**options)
        self.queries = queries

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.pool_query = self.add_weight(name="pool_query", shape=(self.queries, shape[-1]), initializer="normal")

    def call(self, x: Any) -> Any:
        """Return the means of all queries side by side."""
        width = x.shape[2]
        scores = ops.matmul(self.pool_query * np.sqrt(1 / width), ops.transpose(x, (0, 2, 1)))
        return ops.reshape(ops.matmul(ops.softmax(scores, axis=-1), x), (-1, self.queries * width))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "queries": self.queries}
