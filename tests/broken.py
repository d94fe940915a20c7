"""PyTorch backends with one thing wrong each: parity, or the export, must see every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Backend, Epoch, Network, Weights
from backends.torch_net import TorchBackend


class WrongEpsilon(TorchBackend):
    def build(self, network: Network) -> None:
        epsilon = 1.001 * (network.training.epsilon or 1e-8)
        super().build(replace(network, training=network.training.model_copy(update={"epsilon": epsilon})))


class WrongL2(TorchBackend):
    def build(self, network: Network) -> None:
        l2 = network.training.l2 + 1e-6
        super().build(replace(network, training=network.training.model_copy(update={"l2": l2})))


class WrongInitialWeight(TorchBackend):
    def set_weights(self, weights: Weights) -> None:
        kernel = weights["hidden_0/kernel"].copy()
        kernel[36, 0] += 1e-9  # a pixel in the middle: one that is never lit learns nothing
        super().set_weights({**weights, "hidden_0/kernel": kernel})


class WrongBatchOrder(TorchBackend):
    def fit(self, data: Any, epochs: Iterable[Epoch], on_epoch_end: Callable[[float], bool]) -> None:
        size = self._network.training.batch_size

        def swapped() -> Iterable[Epoch]:
            for epoch in epochs:
                order = epoch.order.copy()
                if len(order) > size:  # the last row of the first batch changes places with the first of the second
                    order[[size - 1, size]] = order[[size, size - 1]]
                yield Epoch(order, epoch.learning_rates)

        super().fit(data, swapped(), on_epoch_end)


class WrongLearningRate(TorchBackend):
    def fit(self, data: Any, epochs: Iterable[Epoch], on_epoch_end: Callable[[float], bool]) -> None:
        wrong = (Epoch(epoch.order, epoch.learning_rates * (1 + 1e-6)) for epoch in epochs)
        super().fit(data, wrong, on_epoch_end)


class NotANumber(TorchBackend):
    def get_weights(self) -> Weights:
        weights = super().get_weights()
        weights["logits/bias"][-1] = np.nan  # not in the first array: what a comparison begins with is never dropped
        return weights


class OnnxOfAnotherNetwork(TorchBackend):
    def export_onnx(self, path: Path) -> None:
        weights = self.get_weights()
        self.set_weights({**weights, "logits/bias": weights["logits/bias"] + np.float32(1e-3)})
        super().export_onnx(path)


class OnnxOfOneRow(TorchBackend):
    def export_onnx(self, path: Path) -> None:
        import torch

        program = torch.onnx.export(self._model, (torch.zeros(1, 1, 8, 8),), dynamo=True, opset_version=18)
        program.save(path, external_data=False)


class OnnxOfNothing(TorchBackend):
    def export_onnx(self, path: Path) -> None:
        Backend.export_onnx(self, path)
