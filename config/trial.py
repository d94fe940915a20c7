"""One trial: everything that could change its figures."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from config.architecture import Architecture
from config.spec import Spec, Vocabulary, nearest

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "step", "cosine", "one_cycle"]
Augmentation = Literal["none", "shift", "affine"]
Protocol = Literal["matched", "native"]
Loop = Literal["tuned", "idiomatic"]
Precision = Literal["float32", "float64", "bfloat16"]


def number_format(precision: str) -> str:
    """Return the NumPy name of the numbers that inputs and weights are kept in."""
    return "float64" if precision == "float64" else "float32"


class Training(Spec):
    """How a network is trained. The defaults are the seed's.

    Attributes
    ----------
    learning_rate : the rate, or the peak of the schedule.
    schedule : ``constant``; ``step``, a tenth every 7 epochs; ``cosine``, to 0 over all steps; ``one_cycle``, a linear
        rise over the first 30% of the steps, then cosine to 0.
    early_stopping_patience : epochs without a better validation log loss after which training ends and the best
        epoch's weights come back; null trains all epochs and keeps the last.
    epsilon : Adam's and AdamW's; null is 1e-8 in the matched protocol, and the framework's own default in the native.
    l2 : lambda of the penalty 0.5 * lambda * |W|^2 on kernels (in the native protocol, of the framework's own form).
    weight_decay : AdamW's decoupled decay of kernels.
    augmentation : ``shift``, every training image moved afresh in each epoch, by up to 2 pixels of 28 each way;
        ``affine``, also rotated by up to 10 degrees, and scaled and sheared by up to a tenth.
    sparsity : share of the kernels' weights that are zero at the end: pruned by magnitude, step by step over the first
        two thirds of the epochs; the rest of them trains what is left. Early stopping counts from there on.
    validation : share of the training part held out for validation.
    """

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    optimizer: Optimizer = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=1000)] = 0.001
    schedule: Schedule = "constant"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(gt=0, le=1)] | None = None
    l2: Annotated[float, Field(ge=0, le=1000)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augmentation: Augmentation = "none"
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = 5
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _options_fit_the_optimizer(self) -> Self:
        if self.optimizer != "sgd" and (self.momentum or self.nesterov):
            raise ValueError(f"momentum and nesterov are sgd's; with {self.optimizer} leave them out")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, such as 0.9")
        if self.optimizer != "adamw" and self.weight_decay:
            raise ValueError(f"weight_decay is adamw's; with {self.optimizer} use l2")
        if self.optimizer == "adamw" and self.l2:
            raise ValueError("adamw decays by weight_decay; leave l2 out")
        return self

    @model_validator(mode="after")
    def _something_is_trained_after_pruning(self) -> Self:
        if self.sparsity and self.epochs < 2:
            raise ValueError("sparsity needs at least 2 epochs: one to be pruned after, and one to train what is left")
        return self


class Features(Spec):
    """How images become inputs; everything is fitted on training rows alone.

    Attributes
    ----------
    scaling : ``unit`` divides by the largest possible value, ``standard`` makes each pixel mean 0 and sd 1, ``none``.
    input_size : side in pixels the images are resized to; null keeps theirs.
    pca : principal components kept (the network then sees a vector); null keeps the pixels.
    """

    scaling: Literal["unit", "standard", "none"] = "unit"
    input_size: Annotated[int, Field(ge=2, le=512)] | None = None
    pca: Annotated[int, Field(ge=1)] | None = None


_OF_SEARCHES = ("split_seed", "scored_on")


class Trial(Spec):
    """One training of one network: everything that could change its figures.

    Attributes
    ----------
    train_share : share of the pooled data used for training, in (0, 1), or ``"official"`` for the data set's own split.
    rows : rows of the pooled data used, drawn by class; null uses all.
    loop : ``tuned``, the fastest training loop that the framework allows; ``idiomatic``, the one its guide shows.
    threads : threads of every library in the trial's process.
    precision : of weights, inputs and arithmetic; ``bfloat16`` computes products and convolutions in it, and keeps the
        rest in float32 (automatic mixed precision).
    data_sha256 : hash of the decoded data, filled in by the harness.
    split_seed : the seed that cuts the data where that is not `seed`, so that seeds share their rows; filled in by the
        harness, of a search and its test.
    scored_on : ``validation`` for a trial of a search: its test rows are never read; filled in by the harness.
    """

    backend: str
    engine: str | None = None
    architecture: Architecture
    dataset: str = "auto"
    data_sha256: str = ""
    train_share: Annotated[float, Field(gt=0, lt=1)] | Literal["official"] = 0.8
    rows: Annotated[int, Field(ge=10)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    features: Features = Features()
    training: Training = Training()
    protocol: Protocol = "matched"
    loop: Loop = "tuned"
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    precision: Precision = "float32"
    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    scored_on: Literal["validation"] | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_of_searches(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what only searches set: the keys of all other trials are as they were before there were any."""
        fields: dict[str, Any] = write(self)
        return {name: value for name, value in fields.items() if name not in _OF_SEARCHES or value is not None}

    @model_validator(mode="after")
    def _backend_exists(self, info: ValidationInfo) -> Self:
        vocabulary: Vocabulary | None = info.context
        if vocabulary is None:
            return self
        if self.backend not in vocabulary.backends:
            known = ", ".join(vocabulary.backends)
            hint = nearest(self.backend, vocabulary.backends)
            raise ValueError(f"backend: {self.backend!r} is not known{hint} Known: {known}")
        engines = vocabulary.backends[self.backend]
        if self.engine is not None and self.engine not in engines:
            allowed = f"use one of {', '.join(engines)}" if engines else f"{self.backend} has no engines: leave it out"
            raise ValueError(f"engine: {self.engine!r} does not go with backend {self.backend}; {allowed}")
        return self

    @model_validator(mode="after")
    def _loop_can_be_given_its_batches(self) -> Self:
        if self.loop != "idiomatic":
            return self
        if self.protocol == "matched":
            raise ValueError(
                "loop: 'idiomatic' needs protocol 'native': a framework's own loop shuffles for itself, and matched "
                "dictates the batches"
            )
        if self.training.augmentation != "none":
            raise ValueError("training.augmentation: loop 'idiomatic' keeps to its data; use 'none'")
        if self.training.schedule not in ("constant", "step"):
            raise ValueError(
                "training.schedule: loop 'idiomatic' changes its rate between epochs alone; use 'constant' or 'step'"
            )
        if self.training.sparsity:
            raise ValueError("training.sparsity: loop 'idiomatic' does not hold weights at zero; use 0")
        return self

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def canonical(self) -> str:
        """Return the specification as JSON with sorted keys and no spaces."""
        fields = self.model_dump(mode="json")
        if not self.training.sparsity:  # the keys of such trials are as they were before there was pruning
            del fields["training"]["sparsity"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    def flat(self) -> dict[str, Any]:
        """Return the specification as one level of named columns, as records and tables hold it."""
        fields = self.model_dump(mode="json", exclude={"architecture", "features", "training", "train_share"})
        training = self.training.model_dump(mode="json")
        official = self.train_share == "official"
        return {
            **fields,
            "architecture": self.architecture.label,
            "split": "official" if official else "share",
            "train_share": None if official else self.train_share,
            **self.features.model_dump(mode="json"),
            "max_epochs": training.pop("epochs"),
            **training,
        }
