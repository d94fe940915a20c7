"""PyTorch modules as ONNX: PyTorch's own networks, and Keras's on its PyTorch engine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class ChannelsLast(nn.Module):
    """A network that takes images as the harness has them, (rows, height, width, channels)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (rows, classes)."""
        logits: Tensor = self.network(inputs.permute(0, 3, 1, 2) if inputs.ndim == 4 else inputs)
        return logits


class Inference(nn.Module):
    """A keras.Model as it predicts, which Keras asks to be told at each call."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (rows, classes)."""
        logits: Tensor = self.network(inputs, training=False)
        return logits


def write(network: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Write `network` to `path` as ONNX of opset 18, weights included, for any number of rows of `input_shape`."""
    examples = torch.zeros(2, *input_shape)  # 1 would be taken for a constant
    training = network.training
    network.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the exporter does inside; what it wrote is checked
            program = torch.onnx.export(
                network,
                (examples,),
                opset_version=18,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                verbose=False,
            )
    finally:
        network.train(training)
    assert program is not None
    program.save(path, external_data=False)
