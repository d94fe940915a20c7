"""Training loops to be timed against each other: samenet's, and what a user of each framework would write, in full.

Each contender is a function from a :class:`Case` to a function that trains so many epochs; what that function needs is
made before, outside the clock. Frameworks are imported where they are used: each contender has a process of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from backends.base import Array, Backend, Epoch, Network, Runtime

Train = Callable[[int], None]
"""Trains for a number of epochs."""


@dataclass(frozen=True)
class Case:
    """What is trained: a registered architecture or ``ffn:...``, the batch size, the threads, and the training images.

    Attributes
    ----------
    images : (rows, 28, 28, 1) uint8; `labels` are (rows,) int64.
    """

    architecture: str
    batch_size: int
    threads: int
    images: Array
    labels: Array

    def inputs(self, dtype: str = "float32") -> Array:
        """Return the images with pixels from 0 to 1."""
        return np.asarray(self.images / self.images.max(), dtype)

    @property
    def hidden(self) -> tuple[int, ...]:
        """The hidden layer sizes of a feed-forward network."""
        return tuple(int(size) for size in self.architecture.removeprefix("ffn:").split("-"))


def built(case: Case, name: str, runtime: Runtime) -> tuple[Backend, Network]:
    """Return one of samenet's backends, started, and the case's network, which it has built."""
    import backends
    from config import Training, Trial

    made = backends.load(name)(runtime)
    made.start()
    fields = {"backend": name, "engine": runtime.engine, "architecture": case.architecture}
    spec = Trial.model_validate(fields, context=backends.vocabulary()).architecture
    training = Training(batch_size=case.batch_size, early_stopping_patience=None)
    network = Network(spec, case.images.shape[1:], 10, training)
    made.build(network)
    return made, network


def samenet(case: Case, backend: str, engine: str | None = None, precision: str = "float32") -> Train:
    """Return the tuned loop of one of samenet's backends, driven as the harness drives it."""
    from common.initial import initial_weights
    from config import number_format

    made, network = built(case, backend, Runtime(engine, "cpu", precision, case.threads))
    made.set_weights(initial_weights(made.weight_specs(), network, 0))
    data = made.prepare(case.inputs(number_format(precision)), case.labels)
    rows = len(case.labels)
    rates, rng = np.full(math.ceil(rows / case.batch_size), 0.001), np.random.default_rng(0)

    def train(epochs: int) -> None:
        made.fit(data, (Epoch(rng.permutation(rows), rates) for _ in range(epochs)), lambda _: False)
        made.synchronise()

    return train


def products(case: Case) -> Train:
    """Return the matrix products of a feed-forward network's training and nothing else: the limit of any loop."""
    import torch

    torch.set_num_threads(case.threads)
    widths = [math.prod(case.images.shape[1:]), *case.hidden, 10]
    x = torch.rand(case.batch_size, widths[0])
    weights = [torch.rand(a, b) for a, b in pairwise(widths)]
    outputs = [torch.rand(case.batch_size, width) for width in widths]
    gradients, slopes = [torch.empty_like(weight) for weight in weights], [torch.empty_like(out) for out in outputs]
    outputs[0] = x

    def train(epochs: int) -> None:
        for _ in range(epochs * math.ceil(len(case.labels) / case.batch_size)):
            for layer, weight in enumerate(weights):
                torch.mm(outputs[layer], weight, out=outputs[layer + 1])
            for layer in reversed(range(len(weights))):
                torch.mm(outputs[layer].T, outputs[layer + 1], out=gradients[layer])
                if layer:  # the inputs need no gradient
                    torch.mm(outputs[layer + 1], weights[layer].T, out=slopes[layer])

    return train


def _module(case: Case) -> Any:
    """Return the network as a PyTorch user has it, in PyTorch's own memory layout, with its own initial weights."""
    import torch
    from torch import nn

    torch.set_num_threads(case.threads)
    if case.architecture.startswith("ffn:"):
        widths = [math.prod(case.images.shape[1:]), *case.hidden]
        hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-1], 10))
    from backends.models import torch_traditional

    build: Any = torch_traditional.build
    return build(case.architecture, torch_traditional.ARCHITECTURES[case.architecture], case.images.shape[1:], 10)


def _tensors(case: Case) -> Any:
    import torch

    return torch.from_numpy(case.inputs()).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(case.labels)


def pytorch(case: Case) -> Train:
    """Return the loop of PyTorch's tutorial ("Optimizing Model Parameters"), over a DataLoader."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    model = _module(case)
    loader = DataLoader(TensorDataset(*_tensors(case)), batch_size=case.batch_size, shuffle=True)
    return _plain_loop(model, loader, torch.optim.Adam(model.parameters(), lr=0.001), nn.CrossEntropyLoss())


def _plain_loop(model: Any, loader: Any, optimizer: Any, loss_function: Any) -> Train:
    def train(epochs: int) -> None:
        model.train()
        for _ in range(epochs):
            total = 0.0
            for x, y in loader:
                loss = loss_function(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()

    return train


def seeds_loop(case: Case) -> Train:
    """Return the loop of the published experiment: every image made a PIL image, a tensor and normalized, one by one."""
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    class Images(Dataset[Any]):
        def __len__(self) -> int:
            return len(case.labels)

        def __getitem__(self, index: int) -> Any:
            image = Image.fromarray(case.images[index, :, :, 0])
            tensor = torch.from_numpy(np.array(image)).unsqueeze(0).to(torch.float32).div(255)
            return (tensor - torch.tensor([0.1307])) / torch.tensor([0.3081]), int(case.labels[index])

    model = _module(case)
    loader = DataLoader(Images(), batch_size=case.batch_size, shuffle=True)
    return _plain_loop(model, loader, torch.optim.Adam(model.parameters(), lr=0.001), nn.CrossEntropyLoss())


def lightning(case: Case) -> Train:
    """Return PyTorch Lightning's Trainer, without what it writes to disk and screen."""
    import logging
    import warnings

    import pytorch_lightning
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Module(pytorch_lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = _module(case)

        def training_step(self, batch: Any, _: int) -> Any:
            x, y = batch
            return functional.cross_entropy(self.model(x), y)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.001)

    module = Module()
    loader = DataLoader(TensorDataset(*_tensors(case)), batch_size=case.batch_size, shuffle=True)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}

    def train(epochs: int) -> None:
        trainer = pytorch_lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, enable_model_summary=False, **quiet
        )
        trainer.fit(module, loader)

    return train


def skorch(case: Case) -> Train:
    """Return skorch's NeuralNetClassifier, without validation and printing."""
    import torch
    from skorch import NeuralNetClassifier
    from torch import nn

    inputs, labels = case.inputs().transpose(0, 3, 1, 2).copy(), case.labels
    model = NeuralNetClassifier(
        _module(case),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.001,
        batch_size=case.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    model.initialize()
    return lambda epochs: model.partial_fit(inputs, labels, epochs=epochs) and None


def keras_fit(case: Case, engine: str) -> Train:
    """Return Keras's Model.fit, at its defaults."""
    import os

    os.environ["KERAS_BACKEND"] = engine
    import keras

    if engine == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(case.threads)
    elif engine == "torch":
        import torch

        torch.set_num_threads(case.threads)
    hidden = [keras.layers.Dense(width, activation="relu") for width in case.hidden]
    shape = case.images.shape[1:]
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    inputs, labels = case.inputs(), case.labels
    return lambda epochs: model.fit(inputs, labels, batch_size=case.batch_size, epochs=epochs, verbose=0) and None


def sklearn_fit(case: Case, dtype: str) -> Train:
    """Return MLPClassifier.fit; its stopping rule is not met within so few epochs."""
    import warnings

    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    threadpool_limits(case.threads)
    warnings.filterwarnings("ignore")  # that it has not converged
    inputs = case.inputs(dtype).reshape(len(case.labels), -1)
    model = MLPClassifier(case.hidden, batch_size=case.batch_size, random_state=0)
    return lambda epochs: model.set_params(max_iter=epochs).fit(inputs, case.labels) and None


CONTENDERS: dict[str, Callable[[Case], Train]] = {
    "matrix products alone": products,
    "samenet, PyTorch": partial(samenet, backend="torch"),
    "samenet, PyTorch, bfloat16": partial(samenet, backend="torch", precision="bfloat16"),
    "PyTorch, DataLoader": pytorch,
    "Lightning": lightning,
    "skorch": skorch,
    "the seeds' loop": seeds_loop,
    "samenet, Keras on TensorFlow": partial(samenet, backend="keras", engine="tensorflow"),
    "Keras on TensorFlow, fit": partial(keras_fit, engine="tensorflow"),
    "samenet, Keras on JAX": partial(samenet, backend="keras", engine="jax"),
    "Keras on JAX, fit": partial(keras_fit, engine="jax"),
    "samenet, scikit-learn": partial(samenet, backend="sklearn"),
    "MLPClassifier.fit, float32": partial(sklearn_fit, dtype="float32"),
    "MLPClassifier.fit, float64": partial(sklearn_fit, dtype="float64"),
}
