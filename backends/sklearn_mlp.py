"""scikit-learn's MLPClassifier, given its weights, batches and learning rates by the harness through ``partial_fit``."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backends import custom, denormals
from backends.base import (
    Array,
    Backend,
    Capability,
    Diverged,
    Epoch,
    EpochEnd,
    Layer,
    Network,
    Stopping,
    Unsupported,
    Weights,
    WeightSpec,
)
from config import Activation, Custom, FeedForward, number_format

if TYPE_CHECKING:
    import sklearn.base
    from sklearn.neural_network import MLPClassifier

_ACTIVATIONS: dict[Activation, str] = {"relu": "relu", "sigmoid": "logistic", "tanh": "tanh", "identity": "identity"}
_ONNX = {"relu": "Relu", "logistic": "Sigmoid", "tanh": "Tanh", "identity": "Identity"}
_NO_RATE = 1e-300
_NEVER = -1e30
"""A logit whose softmax is 0 beside any other."""
_EPOCH_END = "_update_no_improvement_count"
"""What MLPClassifier.fit calls at the end of each epoch."""
_SCRATCH = ("_optimizer", "_best_coefs", "_best_intercepts", "_random_state", "loss_curve_", _EPOCH_END)
"""What MLPClassifier keeps for further training, and a saved model does not need."""


class _Ended(Exception):
    """The harness ended a training that MLPClassifier.fit would go on with."""


class SklearnBackend(Backend):
    """MLPClassifier: feed-forward networks with one activation for all hidden layers; and the user's own classifiers.

    A classifier of the user's own is fitted once, by its own ``fit``; epochs, batches and learning rates are its own.
    """

    packages = ("scikit-learn", "scipy")
    capability = Capability(
        expresses=frozenset(
            {"architecture:ffn", "architecture:custom", "l2", "early_stopping", "optimizer:sgd", "optimizer:adam"}
            | {"sparsity", "loop:idiomatic", "two_classes"}
            | {"precision:float32", "precision:float64", "device:auto", "device:cpu"}
            | {"schedule:step", "schedule:cosine", "schedule:one_cycle"}
            | {f"activation:{name}" for name in _ACTIVATIONS}
        ),
        refuses={
            "architecture": "MLPClassifier is a feed-forward network and nothing else",
            "activation": "MLPClassifier has relu, sigmoid (logistic), tanh and identity only",
            "mixed_activations": "MLPClassifier has one activation for all hidden layers",
            "dropout": "MLPClassifier has no dropout",
            "batch_norm": "MLPClassifier has no batch normalization",
            "label_smoothing": "MLPClassifier takes labels, not distributions over classes",
            "optimizer": "MLPClassifier has sgd and adam only",
            "device": "scikit-learn computes on the CPU only",
        },
    )
    native = {
        "initial weights": "Glorot uniform for kernels and biases, a third of the variance where sigmoid",
        "l2": "alpha divided by the rows of the batch",
        "two classes": "one logistic output",
        "early stopping": "validation accuracy, by at least 0.0001; the best epoch's weights come back",
    }
    stopping = Stopping(monitor="val_accuracy", least=1e-4)

    def start(self) -> None:
        global sklearn, MLPClassifier
        import sklearn.base
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import threadpool_limits

        self.put_back.callback(threadpool_limits(self.runtime.threads).restore_original_limits)
        # as the tuned loops of the others do, see design notes
        self._flushes = not self.runtime.idiomatic and denormals.flush(self.put_back)

    def settings(self) -> dict[str, Any]:
        from threadpoolctl import threadpool_info

        threads = max((pool["num_threads"] for pool in threadpool_info()), default=None)
        return {"threads": threads, "device": "cpu", "denormals": "flushed" if self._flushes else "kept"}

    _model: Any

    def build(self, network: Network) -> None:
        architecture, training = network.architecture, network.training
        self._network, self._own = network, isinstance(architecture, Custom)
        if isinstance(architecture, Custom):
            self._model = custom.build(architecture, network.input_shape, network.classes, sklearn.base.ClassifierMixin)
            return
        assert isinstance(architecture, FeedForward)  # what its capability says
        self._model = MLPClassifier(
            hidden_layer_sizes=architecture.hidden_layer_sizes,
            activation=_ACTIVATIONS[architecture.activations[0]],
            solver="sgd" if training.optimizer == "sgd" else "adam",
            learning_rate_init=training.learning_rate,
            momentum=training.momentum,
            nesterovs_momentum=training.nesterov,
            beta_1=training.beta_1,
            beta_2=training.beta_2,
            epsilon=training.epsilon or 1e-8,
            alpha=0.0,
            batch_size=1,
            shuffle=False,
            random_state=network.seed,
        )
        # Two classes get one logistic output of it. With a third, which never comes and whose logit stays _NEVER, without
        # a gradient, the other two have a softmax, as in the other frameworks.
        self._spare = network.classes == 2 and not network.native
        # one row of zeros, at a rate that changes nothing, makes it draw its layers
        self._model.learning_rate_init = _NO_RATE
        inputs = np.zeros((1, math.prod(network.input_shape)), number_format(self.runtime.precision))
        self._model.partial_fit(inputs, np.zeros(1, np.int64), classes=np.arange(network.classes + self._spare))
        self._model.learning_rate_init = training.learning_rate

    def _names(self) -> Iterator[tuple[str, list[Array], int]]:
        """Yield each weight's canonical name and where it stands: a list of MLPClassifier's, and the index in it."""
        if self._own:
            return
        last = len(self._model.coefs_) - 1
        for index in range(last + 1):
            layer = "logits" if index == last else f"hidden_{index}"
            yield f"{layer}/kernel", self._model.coefs_, index
            yield f"{layer}/bias", self._model.intercepts_, index

    def weight_specs(self) -> list[WeightSpec]:
        return [
            WeightSpec(name, array.shape, "glorot_uniform" if name.endswith("kernel") else "zeros")
            for name, array in self.get_weights().items()
        ]

    def get_weights(self) -> Weights:
        return {
            name: (arrays[index][..., :-1] if self._is_spared(name) else arrays[index]).copy()
            for name, arrays, index in self._names()
        }

    def _is_spared(self, name: str) -> bool:
        return self._spare and name.startswith("logits/")

    def set_weights(self, weights: Weights) -> None:
        if self._own:
            self._model = sklearn.base.clone(self._model)
            return
        for name, arrays, index in self._names():
            array = np.array(weights[name], dtype=number_format(self.runtime.precision))
            if self._is_spared(name):
                widths = [(0, 0)] * (array.ndim - 1) + [(0, 1)]
                array = np.pad(array, widths, constant_values=0 if name.endswith("kernel") else _NEVER)
            arrays[index] = array
        # without one, partial_fit makes a new optimizer
        self._model.__dict__.pop("_optimizer", None)
        self._model.loss_curve_ = []

    def prune(self, kept: Mapping[str, Array]) -> None:
        optimizer = self._model._optimizer
        held = [
            (arrays[index][..., :-1] if self._is_spared(name) else arrays[index], kept[name])
            for name, arrays, index in self._names()
            if name in kept
        ]

        def hold_at_zero() -> None:
            for array, mask in held:
                array *= mask

        def update_params(params: list[Array], gradients: list[Array]) -> None:
            type(optimizer).update_params(optimizer, params, gradients)
            hold_at_zero()

        optimizer.update_params = update_params
        hold_at_zero()

    def prepare(self, inputs: Array, labels: Array) -> tuple[Array, Array]:
        return np.ascontiguousarray(
            inputs.reshape(len(inputs), -1), dtype=number_format(self.runtime.precision)
        ), labels

    def fit(self, data: Any, epochs: Iterable[Epoch], on_epoch_end: EpochEnd) -> None:
        inputs, labels = data
        if self._own:
            epoch = next(iter(epochs))
            source = inputs if epoch.inputs is None else epoch.inputs.reshape(len(inputs), -1)
            self._model.fit(source[epoch.order], labels[epoch.order])
            on_epoch_end(None)
            return
        try:
            if self.runtime.idiomatic:
                self._fit_by_itself(inputs, labels, iter(epochs), on_epoch_end)
            else:
                self._fit_by_epoch(inputs, labels, epochs, on_epoch_end)
        except ValueError as error:
            if "non-finite" in str(error):
                raise Diverged(str(error)) from error
            raise

    def _fit_by_epoch(self, inputs: Array, labels: Array, epochs: Iterable[Epoch], on_epoch_end: EpochEnd) -> None:
        shuffled = np.empty_like(inputs)  # kept: fresh pages every epoch would cost more than the gathering
        for epoch in epochs:
            rows = len(epoch.order)
            source = inputs if epoch.inputs is None else epoch.inputs.reshape(len(inputs), -1)
            x = np.take(source, epoch.order, axis=0, out=shuffled[:rows], mode="clip")
            if on_epoch_end(self._train_epoch(x, labels[epoch.order], epoch.learning_rates)):
                return

    def _fit_by_itself(self, inputs: Array, labels: Array, epochs: Iterator[Epoch], on_epoch_end: EpochEnd) -> None:
        """Train with one call of MLPClassifier.fit, which goes on until the harness or the epochs end.

        It draws its initial weights itself, from the same seed as :meth:`build` and so the same.
        """
        model, training, first = self._model, self._network.training, next(epochs)

        def epoch_end(*_: object) -> None:
            following = None if on_epoch_end(model.loss_) else next(epochs, None)
            if following is None:
                raise _Ended
            model._optimizer.learning_rate = model._optimizer.learning_rate_init = float(following.learning_rates[0])

        setattr(model, _EPOCH_END, epoch_end)
        rows = len(first.order)
        model.set_params(
            learning_rate_init=float(first.learning_rates[0]),
            alpha=training.l2,
            batch_size=min(training.batch_size, rows),
            max_iter=training.epochs + 1,
            shuffle=True,
        )
        with contextlib.suppress(_Ended):
            model.fit(inputs[:rows], labels[:rows])

    def _train_epoch(self, x: Array, y: Array, learning_rates: Array) -> float:
        training, model, total = self._network.training, self._model, 0.0
        for start, stop, rate in _runs(len(y), training.batch_size, learning_rates, by_size=training.l2 > 0):
            model.batch_size = min(training.batch_size, stop - start)
            # scikit-learn divides alpha by the rows of a batch; here the penalty is per batch, as in the others
            model.alpha = training.l2 * (1 if self._network.native else model.batch_size)
            if hasattr(model, "_optimizer"):
                # the constructor's rate is read once; Adam keeps the one it scales under another name
                model._optimizer.learning_rate = model._optimizer.learning_rate_init = rate
            else:
                model.learning_rate_init = rate
            model.partial_fit(x[start:stop], y[start:stop])
            total += model.loss_ * (stop - start)
        return total / len(y)

    def predict_proba(self, inputs: Array) -> Array:
        flat = inputs.reshape(len(inputs), -1).astype(number_format(self.runtime.precision), copy=False)
        found = np.asarray(self._model.predict_proba(flat))
        if not self._own:
            return found[:, : self._network.classes]
        if found.shape[1] == self._network.classes:
            return found
        # a classifier knows the classes that it has seen
        probabilities = np.zeros((len(found), self._network.classes), found.dtype)
        probabilities[:, self._model.classes_] = found
        return probabilities

    def save(self, stem: Path) -> Path:
        import skops.io

        path = stem.with_suffix(".skops")
        saved = copy.copy(self._model)
        for name in _SCRATCH:
            saved.__dict__.pop(name, None)
        skops.io.dump(saved, path)
        return path

    def load(self, path: Path) -> None:
        import skops.io

        found = skops.io.load(path, trusted=[])
        if self._own:
            self._model = found
            return
        self._model.coefs_, self._model.intercepts_ = found.coefs_, found.intercepts_
        self.set_weights(self.get_weights())

    def export_onnx(self, path: Path) -> None:
        if self._own:
            raise Unsupported("of scikit-learn's classifiers only MLPClassifier is written as ONNX")
        import onnx
        from onnx import helper, numpy_helper

        weights = {name: array.astype(np.float32) for name, array in self.get_weights().items()}
        layers = [name.removesuffix("/kernel") for name in weights if name.endswith("/kernel")]
        nodes, flowing = [helper.make_node("Flatten", ["inputs"], ["flat"])], "flat"
        for layer in layers:
            sums = "logits" if layer == "logits" else f"{layer}/sums"
            nodes.append(helper.make_node("Gemm", [flowing, f"{layer}/kernel", f"{layer}/bias"], [sums]))
            if layer != "logits":
                nodes.append(helper.make_node(_ONNX[self._model.activation], [sums], [flowing := layer]))
        ends = {"inputs": self._network.input_shape, "logits": (self._network.classes,)}
        inputs, logits = (
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", *shape])
            for name, shape in ends.items()
        )
        arrays = [numpy_helper.from_array(array, name) for name, array in weights.items()]
        graph = helper.make_graph(nodes, "mlp", [inputs], [logits], arrays)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)

    def layers(self) -> list[Layer]:
        return [
            Layer(
                name.removesuffix("/kernel"),
                "dense",
                (kernel.shape[1],),
                kernel.size + kernel.shape[1],
                2 * kernel.size,
            )
            for name, kernel in self.get_weights().items()
            if name.endswith("/kernel")
        ]


def _runs(rows: int, batch_size: int, rates: Array, by_size: bool) -> Iterator[tuple[int, int, float]]:
    """Yield (first row, end row, rate) of the longest runs of batches with one rate, and one size where that counts."""
    full = rows // batch_size
    cuts = {0, len(rates), *(np.flatnonzero(np.diff(rates)) + 1).tolist()} | ({full} if by_size else set())
    for start, stop in itertools.pairwise(sorted(cuts)):
        yield start * batch_size, min(stop * batch_size, rows), float(rates[start])


if __name__ == "__main__":
    import sys

    from compare import main

    raise SystemExit(main(["--backend", "sklearn", *sys.argv[1:]]))
