"""Keras's engines: what each needs to start, and its epoch of training and prediction, compiled as it compiles.

All three compute the same: Keras's layers, loss and optimizer, and the engine's own gradients. Importing this module
imports Keras, whose engine is fixed by then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from backends.base import Array, Epoch

ENGINE = keras.config.backend()
if ENGINE == "tensorflow":
    import tensorflow as tf
elif ENGINE == "jax":
    import jax
else:
    import torch

    from backends import torch_process


_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def _full(logits: Any) -> Any:
    """Return logits, of bfloat16 where products are, in the format that weights are kept in."""
    return ops.cast(logits, keras.config.floatx())


class Loop(ABC):
    """One network's training and prediction on one engine; the static methods speak of the engine itself.

    Attributes
    ----------
    penalty : what the loss adds for each squared entry of a kernel.
    kernels : places of the kernels among the trainable variables.
    masks : for each of the kernels, what it is multiplied by after each step; empty where nothing is pruned.
    """

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer, batch_size: int, penalty: float) -> None:
        self.model, self.optimizer, self.batch_size, self.penalty = model, optimizer, batch_size, penalty
        trainable = model.trainable_variables
        self.masks: list[Any] = []
        self.kernels = [place for place, variable in enumerate(trainable) if variable.path.endswith("kernel")]
        # On CPUs, XLA takes convolutions inside a loop by another way, 13 times as slow (2 cores, the CNN; it is jax
        # issue 12868), so that a loop over them has to stay outside
        self.loops_in_xla = bool(self.gpu()) or not any(isinstance(leaf, _CONVOLUTIONS) for leaf in model.layers)

    @staticmethod
    @abstractmethod
    def start(threads: int | None, put_back: ExitStack) -> None:
        """Give the engine its threads, before it computes anything, and let `put_back` undo what it can."""

    @staticmethod
    def has_float64() -> bool:
        """Whether the engine computes in float64 in this process."""
        return True

    @staticmethod
    @abstractmethod
    def settings() -> dict[str, Any]:
        """Return what the engine says of its ``threads`` (None where it does not) and ``denormals``."""

    @staticmethod
    @abstractmethod
    def gpu() -> str | None:
        """Return the name of the GPU that the engine computes on; None where it is the host."""

    @staticmethod
    @abstractmethod
    def block() -> None:
        """Wait for all that the engine was asked to compute."""

    @staticmethod
    @abstractmethod
    def peak_memory_mb() -> float | None:
        """Return the GPU's peak memory since :meth:`reset_peak_memory`; None where a higher one was before."""

    @staticmethod
    @abstractmethod
    def reset_peak_memory() -> None:
        """Begin to measure the GPU's peak memory anew."""

    def reseed(self, seed: int) -> None:
        """Start dropout's draws anew, each layer with a stream of its own."""
        states = [variable for variable in self.model.non_trainable_variables if "seed_generator" in variable.path]
        for number, state in enumerate(states):
            drawn = np.random.SeedSequence((seed, number)).generate_state(1)[0] >> 1  # below 2**31
            state.assign(np.array([drawn, 0], state.dtype))

    def kernel_variables(self) -> list[keras.Variable]:
        """Return the kernels, in the order of :attr:`masks`."""
        return [self.model.trainable_variables[place] for place in self.kernels]

    def hold_at_zero(self, masks: list[Any]) -> None:
        """Multiply each kernel by its mask; there are none where nothing is pruned."""
        for kernel, mask in zip(self.kernel_variables(), masks, strict=False):
            kernel.assign(kernel * mask)

    def loss(self, logits: Any, targets: Any, trainable: list[Any]) -> Any:
        """Return the mean cross-entropy of a batch, with its penalty."""
        loss = ops.mean(ops.categorical_crossentropy(targets, _full(logits), from_logits=True))
        for place in self.kernels if self.penalty else ():
            loss = loss + self.penalty * ops.sum(ops.square(trainable[place]))
        return loss

    def train_epoch(self, data: tuple[Any, Any], epoch: Epoch) -> float:
        """Take one pass over inputs and targets; return the mean over rows of the batches' losses."""
        rows, size = len(epoch.order), self.batch_size
        full, most = rows // size, max(1, len(data[0]) // size)
        # Two shapes at most, so that engines which compile for a shape do so in the first step and never again: the
        # whole batches of an epoch, however many of them are taken, and the last one, which has fewer rows.
        batches = np.zeros((most, size), epoch.order.dtype)
        rates = np.zeros(most, keras.config.floatx())
        batches[:full], rates[:full] = epoch.order[: full * size].reshape(full, size), epoch.learning_rates[:full]
        total = size * self.steps(*data, batches, rates, full) if full else 0.0
        if rows % size:
            rate = epoch.learning_rates[full:].astype(rates.dtype)
            total += rows % size * self.steps(*data, epoch.order[None, full * size :], rate, 1)
        return total / rows

    @abstractmethod
    def steps(self, inputs: Any, targets: Any, batches: Array, rates: Array, count: int) -> float:
        """Take a step for each of the first `count` rows of `batches` (steps, batch size); return their losses' sum."""

    @abstractmethod
    def predict(self, inputs: Array) -> Array:
        """Return class probabilities of (rows, *input_shape)."""


class TensorFlowLoop(Loop):
    """All steps as one program: XLA's, or TensorFlow's own executor's, 1.4 to 1.9 times as slow without convolutions."""

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer, batch_size: int, penalty: float) -> None:
        super().__init__(model, optimizer, batch_size, penalty)
        self.compiled_steps = tf.function(self._steps, jit_compile=self.loops_in_xla)
        signature = [tf.TensorSpec(model.input_shape, keras.config.floatx())]
        self._probabilities = tf.function(
            lambda inputs: tf.nn.softmax(_full(model(inputs, training=False))), input_signature=signature
        )

    @staticmethod
    def start(threads: int | None, put_back: ExitStack) -> None:
        logger = tf.get_logger()
        put_back.callback(logger.setLevel, logger.level)
        logger.setLevel("ERROR")  # it warns that every network is traced anew, as it should be
        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)  # a second pool would be threads unasked for

    @staticmethod
    def settings() -> dict[str, Any]:
        below_normal = tf.constant(1.5e-38) * 0.5  # kept, it would be 7.5e-39
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        return {"threads": threads, "denormals": "flushed" if float(below_normal) == 0 else "kept"}

    @staticmethod
    def gpu() -> str | None:
        gpus = tf.config.list_physical_devices("GPU")
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")) if gpus else None

    @staticmethod
    def block() -> None:
        tf.test.experimental.sync_devices()

    @staticmethod
    def peak_memory_mb() -> float:
        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 1e6

    @staticmethod
    def reset_peak_memory() -> None:
        tf.config.experimental.reset_memory_stats("GPU:0")

    def _steps(self, inputs: Any, targets: Any, batches: Any, rates: Any, count: Any, masks: list[Any]) -> Any:
        optimizer = self.optimizer
        variables = [variable.value for variable in self.model.trainable_variables]
        total, step = tf.zeros((), tf.float64), tf.zeros((), tf.int32)
        while step < count:  # over tf.range(count), XLA would compile again for each count
            rows = batches[step]
            optimizer.learning_rate.assign(rates[step])
            with tf.GradientTape() as tape:
                logits = self.model(tf.gather(inputs, rows), training=True)
                loss = self.loss(logits, tf.gather(targets, rows), variables)
            optimizer.apply(tape.gradient(loss, variables))
            self.hold_at_zero(masks)
            total += tf.cast(loss, tf.float64)
            step += 1
        return total

    def steps(self, inputs: Any, targets: Any, batches: Array, rates: Array, count: int) -> float:
        return float(self.compiled_steps(inputs, targets, batches, rates, tf.constant(count), self.masks))

    def predict(self, inputs: Array) -> Array:
        return np.asarray(self._probabilities(inputs).numpy())


class JaxLoop(Loop):
    """All steps as one program, or one program for each; their state goes back into Keras's variables afterwards."""

    peak_before: ClassVar = 0
    """Bytes of the GPU that were once in use when the peak was last reset."""

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer, batch_size: int, penalty: float) -> None:
        super().__init__(model, optimizer, batch_size, penalty)
        # the learning rate is one of the optimizer's variables
        self._rate = [variable is optimizer.learning_rate for variable in optimizer.variables].index(True)
        self.compiled_steps = jax.jit(self._all_steps, donate_argnums=0)
        self._compiled_step = jax.jit(self._step, donate_argnums=0)
        self._probabilities = jax.jit(
            lambda trainable, others, inputs: jax.nn.softmax(_full(model.stateless_call(trainable, others, inputs)[0]))
        )

    @staticmethod
    def start(threads: int | None, put_back: ExitStack) -> None:
        pass  # XLA reads the size of its pool from the environment

    @staticmethod
    def has_float64() -> bool:
        return bool(jax.config.jax_enable_x64)

    @staticmethod
    def settings() -> dict[str, Any]:
        below_normal = jax.jit(lambda x: x * np.float32(0.5))(np.float32(1.5e-38))  # kept, it would be 7.5e-39
        return {"threads": None, "denormals": "flushed" if float(below_normal) == 0 else "kept"}

    @staticmethod
    def gpu() -> str | None:
        device = jax.devices()[0]
        return str(device.device_kind) if device.platform == "gpu" else None

    @staticmethod
    def block() -> None:
        jax.block_until_ready(jax.live_arrays())

    @staticmethod
    def peak_memory_mb() -> float | None:
        peak = _peak_bytes()
        return peak / 1e6 if peak > JaxLoop.peak_before else None

    @staticmethod
    def reset_peak_memory() -> None:
        # JAX's peak is the process's
        JaxLoop.peak_before = _peak_bytes()

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        return self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables

    def _values(self) -> list[list[Any]]:
        return [[variable.value for variable in group] for group in self._variables()]

    def _step(self, state: Any, inputs: Any, targets: Any, rate: Any, masks: list[Any]) -> tuple[Any, Any]:
        def loss(trainable: Any, others: Any) -> Any:
            logits, others = self.model.stateless_call(trainable, others, inputs, training=True)
            return self.loss(logits, targets, trainable), others

        trainable, others, slots = state
        slots[self._rate] = rate
        (value, others), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, others)
        trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        for place, mask in zip(self.kernels, masks, strict=False):  # no masks where nothing is pruned
            trainable[place] *= mask
        return [trainable, others, slots], value

    def _all_steps(
        self, state: Any, inputs: Any, targets: Any, batches: Any, rates: Any, count: Any, masks: list[Any]
    ) -> Any:
        def step(number: Any, carried: Any) -> Any:
            state, losses = carried
            rows = batches[number]
            state, loss = self._step(state, inputs[rows], targets[rows], rates[number], masks)
            return state, losses.at[number].set(loss)

        return jax.lax.fori_loop(0, count, step, (state, jax.numpy.zeros_like(rates)))

    def steps(self, inputs: Any, targets: Any, batches: Array, rates: Array, count: int) -> float:
        state: Any = self._values()
        if self.loops_in_xla:
            state, losses = self.compiled_steps(state, inputs, targets, batches, rates, count, self.masks)
        else:
            losses = []
            for rows, rate in zip(batches[:count], rates[:count], strict=True):
                state, loss = self._compiled_step(state, inputs[rows], targets[rows], rate, self.masks)
                losses.append(loss)
        for variables, values in zip(self._variables(), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return float(np.asarray(losses, np.float64).sum())

    def predict(self, inputs: Array) -> Array:
        # compiled for every number of rows it meets: padded to powers of two there are few
        rows = 1 << (len(inputs) - 1).bit_length()
        padded = np.concatenate([inputs, np.zeros((rows - len(inputs), *inputs.shape[1:]), inputs.dtype)])
        return np.asarray(self._probabilities(*self._values()[:2], padded))[: len(inputs)]


def _peak_bytes() -> int:
    return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])


class TorchLoop(Loop):
    """A Python loop over eager steps."""

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer, batch_size: int, penalty: float) -> None:
        super().__init__(model, optimizer, batch_size, penalty)

    @staticmethod
    def start(threads: int | None, put_back: ExitStack) -> None:
        torch_process.keep(put_back)
        if threads is not None:
            torch.set_num_threads(threads)
        torch.set_flush_denormal(True)  # as TensorFlow and XLA do of their own accord

    @staticmethod
    def settings() -> dict[str, Any]:
        return {"threads": torch.get_num_threads(), "denormals": "flushed"}

    @staticmethod
    def gpu() -> str | None:
        return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None

    @staticmethod
    def block() -> None:
        if TorchLoop.gpu():
            torch.cuda.synchronize()

    @staticmethod
    def peak_memory_mb() -> float:
        return float(torch.cuda.max_memory_allocated()) / 1e6

    @staticmethod
    def reset_peak_memory() -> None:
        torch.cuda.reset_peak_memory_stats()

    def reseed(self, seed: int) -> None:
        torch.manual_seed(seed)  # here Keras's dropout draws from PyTorch's one stream, whatever its seed

    def steps(self, inputs: Any, targets: Any, batches: Array, rates: Array, count: int) -> float:
        optimizer = self.optimizer
        variables = [variable.value for variable in self.model.trainable_variables]
        total = torch.zeros((), dtype=torch.float64, device=inputs.device)
        orders = torch.as_tensor(batches[:count], device=inputs.device)
        for rows, rate in zip(orders, rates[:count].tolist(), strict=True):
            loss = self.loss(self.model(inputs[rows], training=True), targets[rows], variables)
            gradients = torch.autograd.grad(loss, variables)
            with torch.no_grad():
                optimizer.learning_rate = rate
                optimizer.apply(gradients)
                self.hold_at_zero(self.masks)
                total += loss  # read once an epoch: .item() here would wait for the device
        return float(total)

    def predict(self, inputs: Array) -> Array:
        with torch.inference_mode():
            logits = _full(self.model(ops.convert_to_tensor(inputs), training=False))
            return np.asarray(ops.softmax(logits).cpu().numpy())


_LOOPS: dict[str, type[Loop]] = {"tensorflow": TensorFlowLoop, "jax": JaxLoop, "torch": TorchLoop}
LOOP = _LOOPS[ENGINE]
"""The loop of the engine that Keras runs on in this process."""
