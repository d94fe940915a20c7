"""Lightweight attention networks of single-weight neurons, as a keras.Model: see :mod:`backends.models.torch_attention`.

A dash in a layer's name stands where the module of the same network in PyTorch has a dot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras
from keras import layers, ops

from backends.models.attention import Attention, Size, coordinates
from backends.models.keras_layers import convolution, shrunk
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
        "scores": "both",
        "projections": "single",
        "positions": 64,
    },
    "attention_5k": {
        "kernel": 5,
        "stem": 16,
        "middle": 16,
        "width": 32,
        "heads": 4,
        "blocks": 2,
        "pooling_queries": 7,
        "scores": "both",
        "projections": "single",
        "positions": 64,
    },
}


def build(name: str, options: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return the network `name`, as :func:`backends.models.torch_attention.build` does."""
    size = Size.of(name, options, input_shape)
    inputs = keras.Input(input_shape, name="inputs")
    x = layers.Reshape((size.attention.positions, size.attention.width), name="positions")(_stem(inputs, size))
    for number in range(size.blocks):
        x = _block(x, size.attention, f"blocks-block_{number}")
    pooled = AttentionPooling(size.attention, size.queries, name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(pooled), name=name)


def _stem(x: Any, size: Size) -> Any:
    if size.shrink > 1:
        x = shrunk(x, size.shrink, name="stem-shrink")
    x = layers.ReLU(name="stem-relu_0")(convolution(x, size.stem, size.kernel, size.strides[0], name="stem-conv_0"))
    x = convolution(x, size.stem, size.kernel, depthwise=True, name="stem-depthwise_1")
    x = layers.ReLU(name="stem-relu_1")(convolution(x, size.middle, 1, name="stem-pointwise_1"))
    if size.strides[1] > 1:
        x = layers.MaxPooling2D(2, padding="same", name="stem-pool_1")(x)
    x = convolution(x, size.middle, 3, depthwise=True, name="stem-depthwise_2")
    x = layers.ReLU(name="stem-relu_2")(convolution(x, size.attention.width, 1, name="stem-pointwise_2"))
    return layers.MaxPooling2D(size.pool, padding="same", name="stem-pool_2")(x) if size.pool > 1 else x


def _block(x: Any, attention: Attention, name: str) -> Any:
    gathered = RotaryAttention(attention, name=f"{name}-attend")(x)
    both = layers.ReLU(name=f"{name}-relu")(layers.Add(name=f"{name}-add")([x, gathered]))
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}-norm")(both)


class _OfAttention(layers.Layer):
    """A layer made of an :class:`Attention`, which a saved file holds as the numbers it consists of."""

    def __init__(self, attention: Attention | Mapping[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.kind = attention if isinstance(attention, Attention) else Attention(**attention)

    def add(self, name: str, shape: tuple[int, ...]) -> None:
        """Add a weight under its own name."""
        learned = self.kind.learns(name)
        setattr(self, name, self.add_weight(name=name, shape=shape, initializer="normal", trainable=learned))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "attention": asdict(self.kind)}


@keras.saving.register_keras_serializable(package="samenet")
class RotaryAttention(_OfAttention):
    """Softmax attention by heads, its queries and keys rotated by position; (rows, positions, width) to the same."""

    def build(self, _: object) -> None:
        for name, shape in self.kind.arrays().items():
            self.add(name, shape)
        if self.kind.position:
            self.add("frequency", (self.kind.heads, self.kind.width // self.kind.heads // 2, 2))

    @property
    def flops(self) -> int:
        """FLOPs of a sample."""
        return self.kind.flops

    def call(self, x: Any) -> Any:
        """Return the values each position gathers."""
        value = self._project("value", x)
        if self.kind.scores == "none":
            return value
        if not self.kind.weighs:
            return ops.broadcast_to(ops.mean(value, axis=1, keepdims=True), ops.shape(x))
        gathered = ops.matmul(self.shares(x), self._by_head(value))
        return ops.reshape(ops.transpose(gathered, (0, 2, 1, 3)), (-1, self.kind.positions, self.kind.width))

    def shares(self, x: Any) -> Any:
        """Return how much of each position each position gathers, as the module in PyTorch does."""
        rotation = self._rotation() if self.kind.position else None
        query, key = (self._by_head(self._project(part, x), rotation) for part in ("query", "key"))
        size = self.kind.width // self.kind.heads
        scores = ops.matmul(query * math.sqrt(1 / size), ops.transpose(key, (0, 1, 3, 2)))
        return ops.softmax(scores, axis=-1)

    def _project(self, part: str, x: Any) -> Any:
        weight, kernel, bias = (getattr(self, f"{part}_{kind}", None) for kind in ("weight", "kernel", "bias"))
        if weight is None and kernel is None:
            return ops.broadcast_to(bias, (1, self.kind.positions, self.kind.width))
        projected = ops.matmul(x, kernel) if weight is None else x * weight
        return projected if bias is None else projected + bias

    def _rotation(self) -> tuple[Any, Any]:
        """Return cosine and sine of each position's angle for each pair of channels, (positions, width / 2)."""
        grid = ops.convert_to_tensor(coordinates(*self.kind.grid), dtype=self.compute_dtype)
        angle = ops.matmul(grid, ops.transpose(self.frequency, (0, 2, 1)))
        angle = ops.reshape(ops.transpose(angle, (1, 0, 2)), (self.kind.positions, -1))
        return ops.cos(angle), ops.sin(angle)

    def _by_head(self, x: Any, rotation: tuple[Any, Any] | None = None) -> Any:
        """Return (rows, heads, positions, size), perhaps rotated: the first half of the channels against the second."""
        heads, size = self.kind.heads, self.kind.width // self.kind.heads
        if rotation is None:
            return ops.transpose(ops.reshape(x, (-1, self.kind.positions, heads, size)), (0, 2, 1, 3))
        (cosine, sine), (real, imaginary) = rotation, ops.split(x, 2, axis=2)
        rotated = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        parts = [ops.reshape(part, (-1, self.kind.positions, heads, size // 2)) for part in rotated]
        return ops.transpose(ops.concatenate(parts, axis=3), (0, 2, 1, 3))


@keras.saving.register_keras_serializable(package="samenet")
class AttentionPooling(_OfAttention):
    """A weighted mean of the positions for each learned query; (rows, positions, width) to (rows, queries * width)."""

    def __init__(self, attention: Attention | Mapping[str, Any], queries: int, **options: Any) -> None:
        super().__init__(attention, **options)
        self.queries = queries

    def build(self, _: object) -> None:
        if self.kind.content:
            self.add("pool_query", (self.queries, self.kind.width))
        if self.kind.position:
            self.add("pool_center", (self.queries, 1, 2))
            self.add("pool_sharpness", (self.queries, 1, 2))

    @property
    def flops(self) -> int:
        """FLOPs of a sample, two a multiply-add: of scores by content, and of the means."""
        return 2 * self.queries * self.kind.positions * self.kind.width * (self.kind.content + self.kind.weighs)

    def call(self, x: Any) -> Any:
        """Return the means of all queries side by side; where nothing weighs the positions, their mean."""
        if not self.kind.weighs:
            return ops.mean(x, axis=1)
        return ops.reshape(ops.matmul(self.shares(x), x), (-1, self.queries * self.kind.width))

    def shares(self, x: Any) -> Any:
        """Return how much of each position each query takes, as the module in PyTorch does."""
        scores: Any = 0
        if self.kind.content:
            scores = ops.matmul(self.pool_query * math.sqrt(1 / self.kind.width), ops.transpose(x, (0, 2, 1)))
        if self.kind.position:
            grid = ops.convert_to_tensor(coordinates(*self.kind.grid) / 2, dtype=self.compute_dtype)
            scores = scores - ops.sum(ops.square((grid - self.pool_center) * self.pool_sharpness), axis=2)
        return ops.softmax(scores, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "queries": self.queries}
