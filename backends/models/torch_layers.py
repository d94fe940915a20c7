"""Layers that PyTorch has in another arithmetic than Keras, in Keras's: what the matched protocol needs of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Flatten(nn.Module):
    """Images (rows, channels, height, width) to vectors in which, as in Keras's, a pixel's channels stand together."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (rows, features); what has no channels is left as it is."""
        return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x.flatten(1)


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization over dimension 1 whose moving variance is that of n, as Keras's is; PyTorch's is of n - 1.

    The constants are Keras's defaults. PyTorch's momentum is the share of the new value, Keras's that of the old.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, eps: float = 1e-3, momentum: float = 0.01, affine: bool = True) -> None:
        super().__init__(features, eps=eps, momentum=momentum, affine=affine)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize a batch of (rows, features, ...), by its own statistics in training."""
        weight, bias, momentum = self.weight, self.bias, self.momentum
        assert momentum is not None
        if not self.training:
            return functional.batch_norm(input, self.running_mean, self.running_var, weight, bias, False, 0.0, self.eps)
        count = input.numel() / input.shape[1]
        if count == 1:
            return self._of_one(input, momentum)
        # with momentum 1 the batch's own statistics are what is left in these two
        mean, variance = torch.empty_like(self.running_mean), torch.empty_like(self.running_var)
        output = functional.batch_norm(input, mean.zero_(), variance.zero_(), weight, bias, True, 1.0, self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * ((count - 1) / count), momentum)
        return output

    def _of_one(self, input: Tensor, momentum: float) -> Tensor:
        """Normalize the one value of each feature, its own mean with variance 0, which PyTorch refuses to do."""
        with torch.no_grad():
            self.running_mean.lerp_(input.flatten().to(self.running_mean), momentum)
            self.running_var.mul_(1 - momentum)
        normalized = input * 0
        if self.affine:
            shape = (1, -1, *[1] * (input.ndim - 2))
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        return normalized
