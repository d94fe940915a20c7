"""Keras 3 on TensorFlow, PyTorch or JAX: any architecture of ``backends/models/keras_*.py``, in compiled epochs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backends import custom
from backends.base import (
    GENERAL,
    Array,
    Backend,
    Capability,
    Epoch,
    EpochEnd,
    Layer,
    Network,
    Runtime,
    Stopping,
    Weights,
    WeightSpec,
)
from backends.models import attention, module, offered
from config import Custom, FeedForward, UserError, number_format

if TYPE_CHECKING:
    import keras

    from backends import keras_fit

_CHUNK = 4096
"""Rows predicted at once: bounds the memory of prediction, not its result."""

_INITIALIZERS = {
    "kernel": "glorot_uniform",
    "bias": "zeros",
    "gamma": "ones",
    "beta": "zeros",
    "moving_mean": "zeros",
    "moving_variance": "ones",
    **attention.INITIALIZERS,
}


class KerasBackend(Backend):
    """Keras networks with Keras's own layers, loss and optimizers, and the engine's gradients."""

    engines = ("tensorflow", "torch", "jax")
    packages = ("keras", "tensorflow", "torch", "jax")
    capability = Capability(
        expresses=GENERAL | offered("keras"),
        refuses={
            "architecture": "this architecture is written in PyTorch alone",
            "vector_input": "it needs images, and PCA leaves none",
        },
    )

    native: ClassVar = {
        "initial weights": "Glorot uniform for kernels, zeros for biases, as matched has them, but drawn by Keras",
        "epsilon": "1e-7 unless given (Adam, AdamW)",
        "l2": "lambda * |W|^2 on kernels, without the half",
        "weight decay": "on all parameters (AdamW)",
        "early stopping": "validation loss; the last epoch's weights remain",
    }
    stopping = Stopping(restore_best=False)

    @classmethod
    def environment(cls, runtime: Runtime) -> dict[str, str]:
        engine = runtime.engine or cls.engines[0]
        variables = {**super().environment(runtime), "KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if engine == "jax":
            # the size of XLA's pool has no other setting; with one thread it hands nothing over
            variables |= {"NPROC": str(runtime.threads)} if runtime.threads is not None else {}
            variables |= {"JAX_ENABLE_X64": "1"} if runtime.precision == "float64" else {}
        if runtime.device == "cpu":
            return variables | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        # memory as it is used, not the whole GPU's
        variables |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        return variables | {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}

    def start(self) -> None:
        global keras, keras_fit
        import keras
        from keras.src.backend.common import dtypes
        from keras.src.utils import module_utils

        asked, engine = self.runtime.engine or self.engines[0], keras.config.backend()
        if asked != engine:
            raise UserError(
                f"engine: {asked!r} was asked for, and Keras already runs on {engine!r} in this process, which it "
                f"cannot change; use engine {engine!r}, or a process of its own"
            )
        from backends import keras_fit
        from backends.keras_loops import LOOP

        put_back, precision = self.put_back, self.runtime.precision
        put_back.callback(keras.config.set_dtype_policy, keras.config.dtype_policy())
        put_back.callback(keras.config.set_floatx, keras.config.floatx())
        put_back.callback(random.setstate, random.getstate())
        keras.config.set_floatx(number_format(precision))
        if precision == "float64":
            # else Keras takes products of float64 in float32 on PyTorch and JAX
            put_back.callback(dtypes.BIT64_TO_BIT32_DTYPE.update, float64=dtypes.BIT64_TO_BIT32_DTYPE["float64"])
            dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
        if engine != "tensorflow":
            # else the first save imports all of TensorFlow, to ask whether a layer's options are of its types
            put_back.callback(setattr, module_utils.tensorflow, "_available", module_utils.tensorflow._available)
            module_utils.tensorflow._available = False
        self._engine = LOOP
        self._engine.start(self.runtime.threads, put_back)
        if precision == "float64" and not self._engine.has_float64():
            raise UserError("precision: 'float64' needs JAX_ENABLE_X64=1 in the environment before JAX is imported")
        self._gpu = self._engine.gpu()
        if (self.runtime.device == "cuda" and self._gpu is None) or (self.runtime.device == "cpu" and self._gpu):
            sees = self._gpu or "no GPU"
            raise UserError(
                f"device: {self.runtime.device!r} was asked for, and Keras on {engine} sees {sees} in this process"
            )

    def settings(self) -> dict[str, Any]:
        return {**self._engine.settings(), "device": self._gpu or "cpu", "engine": keras.config.backend()}

    def build(self, network: Network) -> None:
        architecture, shape, classes = network.architecture, network.input_shape, network.classes
        self._forget()
        random.seed(network.seed)  # where Keras takes the seeds of its initializers from
        if isinstance(architecture, FeedForward):
            from backends.models.keras_ffn import feed_forward

            model = feed_forward(architecture, shape, classes)
        elif isinstance(architecture, Custom):
            model = custom.build(architecture, shape, classes, keras.Model)
            custom.check_logits(architecture, model.output_shape, classes)
            if getattr(model.layers[-1], "activation", None) is keras.activations.softmax:
                model.layers[
                    -1
                ].activation = keras.activations.linear  # what is trained and predicted with takes logits
        else:
            models = module("keras", architecture.name)
            model = models.build(architecture.name, architecture.options, shape, classes)
        own = isinstance(architecture, Custom)
        missing = [weight.path for weight in model.weights if not own and _leaf(weight) not in _INITIALIZERS]
        if missing:
            raise TypeError(f"{architecture.label}: no initializer is declared for {', '.join(missing)}")
        self._network, self._model = network, model
        self._optimizer = self._make_optimizer()
        training = network.training
        penalty = training.l2 * (1 if network.native else 0.5)
        self._loop = self._engine(model, self._optimizer, training.batch_size, penalty)
        self._compiled = keras_fit.compiled(model, self._optimizer, penalty) if self.runtime.idiomatic else None

    def _forget(self) -> None:
        """Free the last network before Keras collects garbage: a process builds many."""
        if hasattr(self, "_loop"):
            del self._loop, self._optimizer, self._model, self._compiled
        keras.utils.clear_session()  # and the policy with it
        keras.config.set_dtype_policy(
            "mixed_bfloat16" if self.runtime.precision == "bfloat16" else keras.config.floatx()
        )
        if self._gpu:
            self._engine.reset_peak_memory()

    def _make_optimizer(self) -> keras.Optimizer:
        training, native = self._network.training, self._network.native
        # Keras takes a Python float through float32 on its way to float64, a NumPy one not
        number = np.float64 if self.runtime.precision == "float64" else float
        rate, epsilon = training.learning_rate, training.epsilon or (1e-7 if native else 1e-8)
        moments = {"beta_1": number(training.beta_1), "beta_2": number(training.beta_2), "epsilon": number(epsilon)}
        optimizer: keras.Optimizer
        if training.optimizer == "sgd":
            optimizer = keras.optimizers.SGD(rate, number(training.momentum), training.nesterov)
        elif training.optimizer == "adam":
            optimizer = keras.optimizers.Adam(rate, **moments)
        else:
            optimizer = keras.optimizers.AdamW(rate, number(training.weight_decay), **moments)
            if not native:
                others = [weight for weight in self._model.trainable_variables if not _leaf(weight).endswith("kernel")]
                optimizer.exclude_from_weight_decay(others)
        optimizer.build(self._model.trainable_variables)
        return optimizer

    def weight_specs(self) -> list[WeightSpec]:
        own = isinstance(self._network.architecture, Custom)
        return [
            WeightSpec(name, shape, "own" if own else _INITIALIZERS[_leaf(weight)], weight.trainable)
            for name, weight, shape in _canonical(self._model)
        ]

    def get_weights(self) -> Weights:
        # np.array copies: PyTorch's and JAX's arrays on the CPU are views
        return {
            name: np.array(keras.ops.convert_to_numpy(weight)).reshape(shape)
            for name, weight, shape in _canonical(self._model)
        }

    def set_weights(self, weights: Weights) -> None:
        for name, weight, _ in _canonical(self._model):
            weight.assign(np.array(weights[name], weight.dtype).reshape(weight.shape))
        for slot in self._optimizer.variables:
            slot.assign(np.zeros(slot.shape, slot.dtype))
        if self.runtime.idiomatic:
            keras.utils.set_random_seed(self._network.seed)  # of fit's shuffling
        self._loop.reseed(self._network.seed)
        # ones from the start on: masks that came later would be compiled anew, at the expense of an epoch
        self._loop.masks = (
            [keras.ops.ones(kernel.shape, kernel.dtype) for kernel in self._loop.kernel_variables()]
            if self._network.training.sparsity
            else []
        )

    def prune(self, kept: Mapping[str, Array]) -> None:
        masks = {id(weight): kept[name] for name, weight, _ in _canonical(self._model) if name in kept}
        self._loop.masks = [
            keras.ops.convert_to_tensor(masks[id(kernel)].reshape(kernel.shape), kernel.dtype)
            for kernel in self._loop.kernel_variables()
        ]
        self._loop.hold_at_zero(self._loop.masks)

    def prepare(self, inputs: Array, labels: Array) -> tuple[Any, Any]:
        smoothing, classes = self._network.training.label_smoothing, self._network.classes
        targets = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
        if self.runtime.idiomatic:
            return inputs, targets.astype(number_format(self.runtime.precision))
        return self._tensor(inputs), self._tensor(targets)

    def _tensor(self, array: Array) -> Any:
        return keras.ops.convert_to_tensor(np.asarray(array, number_format(self.runtime.precision)))

    def fit(self, data: Any, epochs: Iterable[Epoch], on_epoch_end: EpochEnd) -> None:
        inputs, targets = data
        if self.runtime.idiomatic:
            keras_fit.fit_by_itself(self._compiled, inputs, targets, self._network.training, epochs, on_epoch_end)
            return
        for epoch in epochs:
            x = inputs if epoch.inputs is None else self._tensor(epoch.inputs)
            if on_epoch_end(self._loop.train_epoch((x, targets), epoch)):
                return

    def predict_proba(self, inputs: Array) -> Array:
        x = np.asarray(inputs, number_format(self.runtime.precision))
        chunks = [self._loop.predict(x[start : start + _CHUNK]) for start in range(0, max(len(x), 1), _CHUNK)]
        return np.concatenate(chunks) if len(chunks) > 1 else chunks[0]

    def attention(self, inputs: Array) -> dict[str, Array]:
        from keras.src.backend import AutocastScope

        layers = [leaf for leaf in _leaves(self._model) if attention.attends(leaf)]
        if not layers:
            return {}
        given = keras.Model(self._model.inputs, [leaf.input for leaf in layers])(self._tensor(inputs), training=False)
        maps = {}
        for leaf, x in zip(layers, given, strict=True):
            shares = None
            if leaf.kind.weighs:
                with AutocastScope(leaf.compute_dtype):  # as in a call of the layer
                    shares = np.asarray(keras.ops.convert_to_numpy(leaf.shares(x)), np.float64)
            maps[leaf.name.replace("-", "/")] = leaf.kind.shares_map(shares, len(inputs))
        return maps

    def predict_logits(self, inputs: Array) -> Array:
        x = np.asarray(inputs, number_format(self.runtime.precision))
        parts = [x[start : start + _CHUNK] for start in range(0, max(len(x), 1), _CHUNK)]
        logits = (keras.ops.cast(self._model(part, training=False), keras.config.floatx()) for part in parts)
        return np.concatenate([keras.ops.convert_to_numpy(chunk) for chunk in logits])

    def save(self, stem: Path) -> Path:
        path = stem.with_suffix(".keras")
        self._model.save(path)  # never compiled, the model has no optimizer to save
        return path

    def load(self, path: Path) -> None:
        # the arrays alone: nothing that the file says of layers is made, let alone run
        self._model.load_weights(path)
        self.set_weights(self.get_weights())

    @classmethod
    def exporter(cls, runtime: Runtime) -> Runtime:
        # TensorFlow's and JAX's ways need packages that are behind; the saved file is of no engine
        return replace(super().exporter(runtime), engine="torch")

    def export_onnx(self, path: Path) -> None:
        from backends import torch_onnx

        torch_onnx.write(torch_onnx.Inference(self._model), self._network.input_shape, path)

    def layers(self) -> list[Layer]:
        return [
            Layer(leaf.name, type(leaf).__name__, leaf.output.shape[1:], _count(leaf.trainable_weights), _flops(leaf))
            for leaf in _leaves(self._model)
        ]

    def synchronise(self) -> None:
        self._engine.block()

    def device_memory_mb(self) -> float | None:
        return self._engine.peak_memory_mb() if self._gpu else None


def _leaf(weight: keras.Variable) -> str:
    return str(weight.path).rpartition("/")[2]


def _leaves(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def _canonical(model: keras.Model) -> Iterator[tuple[str, keras.Variable, tuple[int, ...]]]:
    """Yield each array's canonical name, its variable and its canonical shape, Keras's own but of depthwise kernels."""
    depthwise = {id(leaf.kernel) for leaf in _leaves(model) if isinstance(leaf, keras.layers.DepthwiseConv2D)}
    for weight in model.weights:
        shape = tuple(weight.shape)
        # a layer's name cannot hold a slash; a depthwise kernel is one of a convolution in groups of one channel
        name = weight.path.replace("-", "/")
        yield name, weight, (*shape[:2], 1, shape[2] * shape[3]) if id(weight) in depthwise else shape


def _count(weights: list[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _flops(leaf: keras.Layer) -> int | None:
    if isinstance(known := getattr(leaf, "flops", None), int):  # one of ours
        return known
    if not isinstance(leaf, keras.layers.Dense | keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        return None if any(len(weight.shape) > 1 for weight in leaf.weights) else 0
    positions = math.prod(leaf.output.shape[1:-1])
    return int(2 * positions * math.prod(leaf.kernel.shape))


if __name__ == "__main__":
    import sys

    from compare import main

    raise SystemExit(main(["--backend", "keras", *sys.argv[1:]]))
