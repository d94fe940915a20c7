"""PyTorch: any architecture of ``backends/models/torch_*.py``, trained with data resident on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backends import custom
from backends.base import GENERAL, Array, Backend, Capability, Epoch, EpochEnd, Layer, Network, Weights, WeightSpec
from backends.models import module, offered
from backends.models.attention import attends
from config import Custom, FeedForward, UserError, number_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import Tensor, nn

    from backends import torch_optim

_CHUNK = 4096
"""Rows predicted at once: bounds the memory of prediction, not its result."""


class TorchBackend(Backend):
    """PyTorch networks with the framework's own optimizers, fused where the device has them."""

    packages = ("torch",)
    capability = Capability(
        expresses=GENERAL | {"many:ffn"} | offered("torch"),
        refuses={"vector_input": "convolution and attention need images, and PCA leaves vectors"},
    )
    native = {
        "initial weights": "uniform within 1 / sqrt(inputs), for kernels and biases",
        "epsilon": "added after the second moment's bias is corrected (Adam, AdamW)",
        "momentum": "the velocity leaves out the learning rate (SGD, under a schedule)",
        "l2": "the optimizer's weight_decay, on all parameters",
        "weight decay": "on all parameters (AdamW)",
        "batch normalization": "epsilon 1e-5, momentum 0.1, moving variance of n - 1 (feed-forward networks)",
    }

    def start(self) -> None:
        global torch, nn, torch_optim
        import torch
        from torch import nn

        from backends import torch_optim, torch_process

        torch_process.keep(self.put_back)
        if self.runtime.threads is not None:
            torch.set_num_threads(self.runtime.threads)
        # dead pixels' weights decay into denormal floats under Adam, which are many times slower (see design notes)
        torch.set_flush_denormal(not self.runtime.idiomatic)
        available = torch.cuda.is_available()
        if self.runtime.device == "cuda" and not available:
            raise UserError("device: 'cuda' was asked for, and PyTorch sees no GPU here; use device cpu")
        self._device = torch.device("cuda" if available and self.runtime.device != "cpu" else "cpu")
        self._dtype = getattr(torch, number_format(self.runtime.precision))
        mixed = self.runtime.precision == "bfloat16"
        self._autocast = torch.autocast(self._device.type, torch.bfloat16) if mixed else nullcontext()

    def settings(self) -> dict[str, Any]:
        name = torch.cuda.get_device_name() if self._device.type == "cuda" else None
        denormals = "kept" if self.runtime.idiomatic else "flushed"
        return {"threads": torch.get_num_threads(), "device": name or "cpu", "denormals": denormals}

    _pruned: list[Tensor]
    _masks: list[Tensor]

    def build(self, network: Network) -> None:
        architecture, shape, classes = network.architecture, network.input_shape, network.classes
        torch.manual_seed(network.seed)
        if isinstance(architecture, FeedForward):
            from backends.models.torch_ffn import feed_forward

            model = feed_forward(architecture, shape, classes, network.native)
        elif isinstance(architecture, Custom):
            model = custom.build(architecture, shape, classes, nn.Module)
        else:
            models = module("torch", architecture.name)
            model = models.build(architecture.name, architecture.options, shape, classes)
        self._network = network
        self._model: nn.Module = model.to(self._device, self._dtype)
        if isinstance(architecture, Custom):
            self._check_logits(architecture)
        self._arrays = _own if isinstance(architecture, Custom) else _canonical
        self._places = {name: (tensor, permutation) for name, tensor, permutation, _ in self._arrays(model)}
        placed = {id(tensor) for tensor, _ in self._places.values()}
        missing = [name for name, parameter in model.named_parameters() if id(parameter) not in placed]
        if missing:
            raise TypeError(f"{architecture.label}: no initializer is declared for {', '.join(missing)}")
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def _check_logits(self, architecture: Custom) -> None:
        images = self._tensor(np.zeros((2, *self._network.input_shape)))
        with self._evaluating():
            try:
                logits = self._model(images)
            except (RuntimeError, TypeError, ValueError) as error:
                given = ", ".join(map(str, images.shape[1:]))
                raise UserError(f"{architecture.place}: given inputs (rows, {given}): {error}") from error
        custom.check_logits(architecture, tuple(logits.shape), self._network.classes)
        if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), torch.ones(2).to(logits)):
            raise UserError(f"{architecture.place}: its network ends in a softmax; leave it out, the loss takes logits")

    def weight_specs(self) -> list[WeightSpec]:
        return [
            WeightSpec(name, tuple(_permuted(tensor, permutation).shape), initializer, tensor.requires_grad)
            for name, tensor, permutation, initializer in self._arrays(self._model)
        ]

    def get_weights(self) -> Weights:
        # np.array copies: on the CPU, Tensor.numpy() is a view that training would go on changing
        return {
            name: np.array(_permuted(tensor.detach(), permutation).cpu().numpy(), order="C")
            for name, (tensor, permutation) in self._places.items()
        }

    def set_weights(self, weights: Weights) -> None:
        with torch.no_grad():
            for name, (tensor, permutation) in self._places.items():
                _permuted(tensor, permutation).copy_(torch.as_tensor(weights[name]))
        self._pruned, self._masks = [], []
        parameters, training = [*self._model.parameters()], self._network.training
        if self.runtime.idiomatic:
            self._tutorial_optimizer = torch_optim.tutorial(training, parameters)
        else:
            kernels = self._kernels()
            kept = {id(kernel) for kernel in kernels}
            others = [one for one in parameters if id(one) not in kept]
            self._optimizer = torch_optim.Optimizer(training, kernels, others, self._network.native)
        torch.manual_seed(self._network.seed)

    def prune(self, kept: Mapping[str, Array]) -> None:
        self._pruned, self._masks = [], []
        for name, mask in kept.items():
            tensor, permutation = self._places[name]
            held = torch.zeros_like(tensor)
            _permuted(held, permutation).copy_(torch.as_tensor(mask))
            self._pruned.append(tensor)
            self._masks.append(held)
        self._hold_at_zero()

    def _hold_at_zero(self) -> None:
        with torch.no_grad():
            torch._foreach_mul_(self._pruned, self._masks)

    def _kernels(self) -> list[Tensor]:
        """Return the parameters that penalties and decay are for."""
        return [self._places[spec.name][0] for spec in self.weight_specs() if spec.kernel]

    def prepare(self, inputs: Array, labels: Array) -> tuple[Tensor, Tensor]:
        device = torch.device("cpu") if self.runtime.idiomatic else self._device
        return self._tensor(inputs, device), torch.as_tensor(labels, device=device)

    def _tensor(self, inputs: Array, device: torch.device | None = None) -> Tensor:
        tensor = torch.as_tensor(inputs, device=device or self._device, dtype=self._dtype)
        return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor  # a view: channels last in memory

    def fit(self, data: Any, epochs: Iterable[Epoch], on_epoch_end: EpochEnd) -> None:
        inputs, labels = data
        if self.runtime.idiomatic:
            self._fit_as_in_the_tutorial(inputs, labels, epochs, on_epoch_end)
            return
        # kept from epoch to epoch: a fresh buffer of the size of MNIST costs 0.3 s in page faults
        shuffled, shuffled_labels = torch.empty_like(inputs), torch.empty_like(labels)
        for epoch in epochs:
            order = torch.as_tensor(epoch.order, device=self._device)
            rows = len(order)
            source = inputs if epoch.inputs is None else self._tensor(epoch.inputs)
            x = torch.index_select(source, 0, order, out=shuffled[:rows])
            y = torch.index_select(labels, 0, order, out=shuffled_labels[:rows])
            self._model.train()
            loss = self._train_epoch(x, y, epoch.learning_rates)
            if on_epoch_end(loss):
                return

    def _train_epoch(self, x: Tensor, y: Tensor, learning_rates: Array) -> float:
        training, model, optimizer = self._network.training, self._model, self._optimizer
        cross_entropy = nn.CrossEntropyLoss(label_smoothing=training.label_smoothing)
        kernels = self._kernels() if training.l2 and not self._network.native else []
        batches, labels = torch.split(x, training.batch_size), torch.split(y, training.batch_size)
        losses = []
        for inputs, targets, rate in zip(batches, labels, learning_rates.tolist(), strict=True):
            with self._autocast:
                loss = cross_entropy(model(inputs), targets)
            for kernel in kernels:
                loss = loss + 0.5 * training.l2 * kernel.square().sum()
            # not backward(), which would keep the gradients in the parameters, to be cleared again
            optimizer.step(torch.autograd.grad(loss, optimizer.parameters, allow_unused=True), rate)
            if self._masks:
                self._hold_at_zero()
            losses.append(loss.detach())  # read once an epoch: .item() here would wait for the device
        rows = torch.tensor([len(targets) for targets in labels], dtype=torch.float64, device=self._device)
        return float(torch.stack(losses).double() @ rows) / len(y)

    def fit_many(
        self,
        networks: Sequence[Network],
        weights: Sequence[Weights],
        data: Any,
        epochs: Iterable[Sequence[Epoch]],
        on_epoch_end: Callable[[list[float], Callable[[int], Weights]], bool],
    ) -> None:
        from backends.models.torch_layers import Flatten
        from backends.torch_many import Stack

        inputs, labels = data
        vectors = Flatten()(inputs)  # a view: in memory the channels are last
        stack = Stack(networks, weights, self._device, self._dtype)
        for several in epochs:
            if on_epoch_end(stack.train_epoch(vectors, labels, several), stack.weights):
                return

    def _fit_as_in_the_tutorial(
        self, inputs: Tensor, labels: Tensor, epochs: Iterable[Epoch], on_epoch_end: EpochEnd
    ) -> None:
        """Train with a DataLoader, sample by sample into batches (PyTorch's tutorial, "Optimizing Model Parameters")."""
        from torch.utils.data import DataLoader, TensorDataset

        training = self._network.training
        cross_entropy = nn.CrossEntropyLoss(label_smoothing=training.label_smoothing)
        for epoch in epochs:
            rows, total = len(epoch.order), 0.0
            for group in self._tutorial_optimizer.param_groups:
                group["lr"] = float(epoch.learning_rates[0])
            loader = DataLoader(TensorDataset(inputs[:rows], labels[:rows]), training.batch_size, shuffle=True)
            self._model.train()
            for x, y in loader:
                with self._autocast:
                    loss = cross_entropy(self._model(x.to(self._device)), y.to(self._device))
                loss.backward()
                self._tutorial_optimizer.step()
                self._tutorial_optimizer.zero_grad()
                total += loss.item() * len(y)
            if on_epoch_end(total / rows):
                return

    def predict_proba(self, inputs: Array) -> Array:
        return self._predicted(inputs, lambda logits: torch.softmax(logits, dim=1))

    def predict_logits(self, inputs: Array) -> Array:
        return self._predicted(inputs, lambda logits: logits)

    def _predicted(self, inputs: Array, finish: Callable[[Tensor], Tensor]) -> Array:
        with self._evaluating():
            parts = [self._tensor(inputs[start : start + _CHUNK]) for start in range(0, max(len(inputs), 1), _CHUNK)]
            chunks = [finish(self._model(part).to(self._dtype)).cpu() for part in parts]
            return np.asarray((torch.cat(chunks) if len(chunks) > 1 else chunks[0]).numpy())

    def attention(self, inputs: Array) -> dict[str, Array]:
        layers = {part: name.replace(".", "/") for name, part in self._model.named_modules() if attends(part)}
        maps: dict[str, Array] = {}

        def look(part: Any, given: tuple[Tensor]) -> None:
            shares = part.shares(given[0]).double().cpu().numpy() if part.kind.weighs else None
            maps[layers[part]] = part.kind.shares_map(shares, len(inputs))

        hooks = [part.register_forward_pre_hook(look) for part in layers]
        with self._evaluating():
            if layers:
                self._model(self._tensor(inputs))
        for hook in hooks:
            hook.remove()
        return maps

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        if self._model.training:  # eval() walks all modules; every epoch sets its own mode
            self._model.eval()
        with torch.inference_mode(), self._autocast:
            yield

    def save(self, stem: Path) -> Path:
        from safetensors.torch import save_file

        path = stem.with_suffix(".safetensors")
        save_file({name: tensor.contiguous() for name, tensor in self._model.state_dict().items()}, path)
        return path

    def load(self, path: Path) -> None:
        from safetensors.torch import load_file

        self._model.load_state_dict(load_file(path))
        self.set_weights(self.get_weights())

    def export_onnx(self, path: Path) -> None:
        from backends import torch_onnx

        torch_onnx.write(torch_onnx.ChannelsLast(self._model), self._network.input_shape, path)

    def layers(self) -> list[Layer]:
        from torch.utils.flop_counter import FlopCounterMode

        parts = dict(self._model.named_modules())
        shapes: dict[str, tuple[int, ...]] = {}
        hooks = [
            part.register_forward_hook(
                lambda _, __, output, name=name: shapes.update({name: tuple(getattr(output, "shape", ())[1:])})
            )
            for name, part in parts.items()
        ]
        example = self._tensor(np.zeros((1, *self._network.input_shape)))
        with self._evaluating(), FlopCounterMode(display=False) as counter:
            self._model(example)
        for hook in hooks:
            hook.remove()
        counts = {name.partition(".")[2]: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
        found = []
        for name, part in parts.items():
            inner = [f"{name}.{child}".removeprefix(".") for child, _ in part.named_children()]
            flops = counts.get(name, 0) - sum(counts.get(child, 0) for child in inner)
            layer = Layer(name, type(part).__name__, shapes.get(name, ()), _count(part), flops)
            if not inner or layer.parameters or layer.flops:  # else it only holds others
                found.append(layer)
        return found

    def synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def device_memory_mb(self) -> float | None:
        return torch.cuda.max_memory_allocated() / 1e6 if self._device.type == "cuda" else None


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters(recurse=False) if parameter.requires_grad)


def _permuted(tensor: Tensor, permutation: tuple[int, ...] | None) -> Tensor:
    return tensor if permutation is None else tensor.permute(permutation)


def _canonical(model: nn.Module) -> Iterator[tuple[str, Tensor, tuple[int, ...] | None, str]]:
    """Yield each array's canonical name, its tensor, the permutation to the canonical layout, and its initializer.

    A module of ours with parameters of its own names their initializers in an attribute ``initializers``.
    """
    norms = {"weight": ("gamma", "ones"), "bias": ("beta", "zeros")}
    norms |= {"running_mean": ("moving_mean", "zeros"), "running_var": ("moving_variance", "ones")}
    for path, part in model.named_modules():
        tensors = dict(part.named_parameters(recurse=False)) | dict(part.named_buffers(recurse=False))
        for leaf, tensor in tensors.items():
            prefix = path.replace(".", "/") + "/" if path else ""
            if isinstance(part, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
                if leaf in norms:  # num_batches_tracked is a counter, no weight
                    yield prefix + norms[leaf][0], tensor, None, norms[leaf][1]
            elif isinstance(part, nn.Linear | nn.Conv2d):
                kernel = leaf == "weight"
                permutation = (1, 0) if isinstance(part, nn.Linear) else (2, 3, 1, 0)
                yield (prefix + "kernel", tensor, permutation, "glorot_uniform") if kernel else (
                    prefix + "bias", tensor, None, "zeros")  # fmt: skip
            elif leaf in getattr(part, "initializers", {}):
                yield prefix + leaf, tensor, None, part.initializers[leaf]


def _own(model: nn.Module) -> Iterator[tuple[str, Tensor, None, str]]:
    """Yield the arrays of a network of the user's own, as they are."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point():
            yield name.replace(".", "/"), tensor, None, "own"


if __name__ == "__main__":
    import sys

    from compare import main

    raise SystemExit(main(["--backend", "torch", *sys.argv[1:]]))
