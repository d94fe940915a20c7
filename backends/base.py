"""Backend, the one interface a framework implements, and Capability, what it can express and why not.

A backend builds, trains and predicts. It never times, scores, seeds, splits, prints or writes files of its own accord:
the harness does that once, for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np

from config import Activation, Architecture, FeedForward, Loop, Optimizer, Precision, Protocol, Training, Trial

Array = np.ndarray
EpochEnd = Callable[[float | None], bool]
"""Told an epoch's mean loss, penalties included (None where the framework has none); True ends the training."""
Weights = dict[str, Array]
"""Weights by canonical name (``hidden_0/kernel``), in the layouts Keras uses: dense (in, out), conv (h, w, in, out)."""


class Diverged(Exception):
    """The training left the finite numbers; the harness records the trial as ``diverged``."""


@dataclass(frozen=True)
class Runtime:
    """Where, how precisely and by which loop a backend computes; fixed from its start on.

    Attributes
    ----------
    threads : of every library; None leaves them as the process has them.
    """

    engine: str | None = None
    device: str = "cpu"
    precision: str = "float32"
    threads: int | None = 1
    loop: Loop = "tuned"

    @property
    def idiomatic(self) -> bool:
        """Whether networks are trained as the framework's guide shows."""
        return self.loop == "idiomatic"


@dataclass(frozen=True)
class Network:
    """What to build: an architecture for inputs of one shape, the number of classes, and how it will be trained.

    Attributes
    ----------
    input_shape : shape of one input, (height, width, channels) for images or (features,) for vectors.
    seed : seed of what the framework itself draws: dropout's masks, and in the native protocol its initial weights.
    protocol : ``matched``, the same arithmetic in every framework, or ``native``, each as its documentation has it.
    """

    architecture: Architecture
    input_shape: tuple[int, ...]
    classes: int
    training: Training
    seed: int = 0
    protocol: Protocol = "matched"

    @property
    def native(self) -> bool:
        """Whether the framework's own conventions hold."""
        return self.protocol == "native"


@dataclass(frozen=True)
class WeightSpec:
    """One array of a network's weights, in the canonical layout.

    Attributes
    ----------
    initializer : ``glorot_uniform``, ``he_normal``, ``zeros``, ``ones`` or ``normal:SD``; ``own``, the value that the
        framework gave it.
    trainable : False for statistics such as batch normalization's moving mean.
    """

    name: str
    shape: tuple[int, ...]
    initializer: str
    trainable: bool = True

    @property
    def kernel(self) -> bool:
        """Whether penalties, decay and pruning are for it; a network of the user's own has PyTorch's names."""
        leaf = self.name.rpartition("/")[2]
        return leaf.endswith("kernel") or (leaf == "weight" and len(self.shape) > 1)


@dataclass(frozen=True)
class Layer:
    """One layer as ``profile`` shows it; `flops` counts two a multiply-add of matrix products and convolutions.

    It is None where nothing says what a layer computes.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    flops: int | None


def total_flops(flops: Sequence[int | None]) -> int | None:
    """Return the FLOPs of all layers; None of no layers, or where one's are not known."""
    known = [one for one in flops if one is not None]
    return sum(known) if flops and len(known) == len(flops) else None


@dataclass(frozen=True)
class Epoch:
    """What the harness dictates of one epoch.

    Attributes
    ----------
    order : (rows,) int64, the training rows in the order they are taken; consecutive `batch_size` of them make a batch.
    learning_rates : (steps,) float64, the rate of each step.
    inputs : (rows, *input_shape) to train this epoch on in place of those prepared; the labels stay.
    """

    order: Array
    learning_rates: Array
    inputs: Array | None = None


@dataclass(frozen=True)
class Stopping:
    """When early stopping counts an epoch as better, and which weights remain.

    Attributes
    ----------
    monitor : ``val_log_loss`` (lower is better) or ``val_accuracy`` (higher is better).
    least : by how much an epoch must beat the best so far.
    restore_best : whether the best epoch's weights come back at the end.
    """

    monitor: str = "val_log_loss"
    least: float = 0.0
    restore_best: bool = True


@dataclass(frozen=True)
class Capability:
    """What a backend can express, as a set of needs, and a reason for each need it refuses.

    A need is a word (``dropout``) or a kind and a value (``optimizer:adamw``); see :func:`needs`.
    """

    expresses: frozenset[str]
    refuses: Mapping[str, str] = field(default_factory=dict)

    def reason_against(self, wanted: Iterable[str]) -> str | None:
        """Return why `wanted` cannot all be expressed, or None where it can."""
        missing = [need for need in wanted if need not in self.expresses]
        if not missing:
            return None
        kind = missing[0].partition(":")[0]
        return self.refuses.get(missing[0]) or self.refuses.get(kind) or f"it has no {missing[0].replace(':', ' ')}"


GENERAL = frozenset(
    {"architecture:ffn", "architecture:custom", "mixed_activations", "dropout", "batch_norm", "l2", "label_smoothing"}
    | {"sparsity", "early_stopping", "two_classes", "loop:idiomatic", "device:auto", "device:cpu", "device:cuda"}
    | {f"precision:{name}" for name in get_args(Precision)}
    | {f"optimizer:{name}" for name in get_args(Optimizer)}
    | {"schedule:step", "schedule:cosine", "schedule:one_cycle"}
    | {f"activation:{name}" for name in get_args(Activation)}
)
"""What a general framework of neural networks expresses, beside the architectures of ``backends/models/``."""


def needs(trial: Trial, classes: int) -> list[str]:
    """Return what a trial asks of a backend, the words that :class:`Capability` answers."""
    architecture, training = trial.architecture, trial.training
    wanted = [f"architecture:{architecture.name}", f"optimizer:{training.optimizer}", f"precision:{trial.precision}"]
    wanted += [f"device:{trial.device}"] + [f"loop:{trial.loop}"] * (trial.loop != "tuned")
    if isinstance(architecture, FeedForward):
        wanted += [f"activation:{name}" for name in dict.fromkeys(architecture.activations)]
        wanted += ["mixed_activations"] * (len(set(architecture.activations)) > 1)
        wanted += ["dropout"] * (architecture.dropout > 0) + ["batch_norm"] * architecture.batch_norm
    elif trial.features.pca is not None:
        wanted += ["vector_input"]
    wanted += ["label_smoothing"] * (training.label_smoothing > 0) + ["l2"] * (training.l2 > 0)
    wanted += ["sparsity"] * (training.sparsity > 0)
    wanted += [f"schedule:{training.schedule}"] * (training.schedule != "constant")
    wanted += ["early_stopping"] * (training.early_stopping_patience is not None)
    return wanted + ["two_classes"] * (classes == 2)


def needs_of_many(trial: Trial) -> list[str]:
    """Return what a trial asks of a backend that is to train it together with others, beside :func:`needs`."""
    architecture = trial.architecture
    wanted = [f"many:{architecture.name}"] + ["many_sparsity"] * (trial.training.sparsity > 0)
    if isinstance(architecture, FeedForward):
        wanted += ["many_dropout"] * (architecture.dropout > 0) + ["many_batch_norm"] * architecture.batch_norm
    return wanted


class Unsupported(Exception):
    """A backend cannot express what a trial asks for, which only building its network could tell."""


_ON_GPU = {"NVIDIA_TF32_OVERRIDE": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Products of float32 in float32, in every framework; and GPUs in the order in which NVML, which reads energy, has them."""


class Backend(ABC):
    """A framework behind one small interface.

    A process makes one instance and runs many trials with it: :meth:`build` starts a new network each time.

    Attributes
    ----------
    engines : the engines it runs on, the default first; empty where there is no choice.
    packages : the distributions whose versions a record names.
    native : what the native protocol does otherwise than the matched one, by subject, in words.
    stopping : its early stopping in the native protocol.
    put_back : undoes what :meth:`start` and training change in the whole process.
    """

    engines: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]]
    capability: ClassVar[Capability]
    native: ClassVar[Mapping[str, str]] = {}
    stopping: ClassVar[Stopping] = Stopping()

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.put_back = ExitStack()

    @classmethod
    def environment(cls, runtime: Runtime) -> dict[str, str]:
        """Return the environment variables to set before the process starts."""
        return {} if runtime.device == "cpu" else dict(_ON_GPU)

    @abstractmethod
    def start(self) -> None:
        """Import the framework and fix its threads, device and precision; the harness times this as ``import_s``."""

    def stop(self) -> None:
        """Give back a process that is not the backend's own: its threads, number formats and random generators.

        The network stays, and goes on after another :meth:`start`.
        """
        self.put_back.close()

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what the framework itself says of its threads and number format, for the record.

        ``device`` is there always: ``cpu``, or the name of the GPU that it trains on.
        """

    @abstractmethod
    def build(self, network: Network) -> None:
        """Make the network and its optimizer, with the framework's own initial weights, ready for :meth:`set_weights`."""

    @abstractmethod
    def weight_specs(self) -> list[WeightSpec]:
        """Return every array of the network's weights, trainable or not."""

    @abstractmethod
    def get_weights(self) -> Weights:
        """Return a copy of all weights in the canonical layout."""

    @abstractmethod
    def set_weights(self, weights: Weights) -> None:
        """Take over all weights, and forget the optimizer's state and the draws so far: training starts anew."""

    def prune(self, kept: Mapping[str, Array]) -> None:
        """Hold weights at zero, now and through every step to come, until :meth:`set_weights`.

        Called between epochs of :meth:`fit`, for a network whose training has a sparsity.

        Parameters
        ----------
        kept : by the canonical name of a kernel, a boolean array of its shape; False where it is to be zero.
        """
        raise NotImplementedError

    @abstractmethod
    def prepare(self, inputs: Array, labels: Array) -> Any:
        """Turn arrays into the form :meth:`fit` trains on, resident on the device; not timed as training.

        Parameters
        ----------
        inputs : (rows, *input_shape) array, of float64 where that is the precision, else of float32.
        labels : (rows,) int64 in 0..classes-1.
        """

    @abstractmethod
    def fit(self, data: Any, epochs: Iterable[Epoch], on_epoch_end: EpochEnd) -> None:
        """Train, one pass over `data` for each of `epochs`.

        The idiomatic loop shuffles for itself: of an epoch it takes the number of rows, the first so many, and the
        first learning rate.

        Parameters
        ----------
        data : what :meth:`prepare` returned.

        Raises
        ------
        Diverged
            Where the framework itself refuses to go on with non-finite numbers.
        """

    def fit_many(
        self,
        networks: Sequence[Network],
        weights: Sequence[Weights],
        data: Any,
        epochs: Iterable[Sequence[Epoch]],
        on_epoch_end: Callable[[list[float], Callable[[int], Weights]], bool],
    ) -> None:
        """Train many networks as one program, each as :meth:`fit` would alone but for rounding.

        Only for networks that the capability says so of; see :func:`needs_of_many`.

        Parameters
        ----------
        networks : alike but for seeds, hidden layer sizes and learning rates; those of one rate stand together.
        weights : what each begins with.
        data : what :meth:`prepare` returned; each network trains on rows of its own.
        epochs : an epoch of each network; all of one number of rows.
        on_epoch_end : called with each network's mean loss, and what gives a copy of a network's weights by its place;
            training ends where it returns True.
        """
        raise NotImplementedError

    @abstractmethod
    def predict_proba(self, inputs: Array) -> Array:
        """Return class probabilities, (rows, classes), for inputs as in :meth:`prepare`."""

    def attention(self, inputs: Array) -> dict[str, Array]:  # noqa: ARG002  # what a network without attention ignores
        """Return what each position of an attention layer's grid gets of its attention, mean over heads and queries.

        Parameters
        ----------
        inputs : (rows, *input_shape) as in :meth:`prepare`.

        Returns
        -------
        dict of str to (rows, down, across) float arrays
            By the layer's name in the canonical form (``blocks/block_0/attend``), in the network's order; each map sums
            to 1. Empty where the network has no such layer.
        """
        return {}

    def predict_logits(self, inputs: Array) -> Array | None:  # noqa: ARG002  # this one has none
        """Return logits, (rows, classes), for inputs as in :meth:`prepare`; None where the framework has none."""
        return None

    @abstractmethod
    def save(self, stem: Path) -> Path:
        """Write the weights and structure, without optimizer state, to `stem` plus a suffix of its own; return it."""

    @abstractmethod
    def load(self, path: Path) -> None:
        """Take over the weights of a file that :meth:`save` wrote for the same network; no pickle is read."""

    @classmethod
    def exporter(cls, runtime: Runtime) -> Runtime:
        """Return where :meth:`export_onnx` works for what was trained with `runtime`: on the CPU, in float32."""
        return replace(runtime, device="cpu", precision="float32")

    def export_onnx(self, path: Path) -> None:  # noqa: ARG002  # this one cannot
        """Write the network as ONNX of opset 18, in one file, from inputs as in :meth:`prepare` to logits.

        The number of rows stays open; names and everything else are the harness's to give.

        Raises
        ------
        Unsupported
            Where this network cannot be written as ONNX.
        """
        raise Unsupported(f"{type(self).__name__} has no way to ONNX")

    @abstractmethod
    def layers(self) -> list[Layer]:
        """Return the network's layers in order."""

    def synchronise(self) -> None:
        """Wait until the device has finished all that was asked of it; nothing to do where calls block."""

    def device_memory_mb(self) -> float | None:
        """Return the device's peak memory since :meth:`build` in MB; None where the device is the host."""
        return None
