"""Typed, frozen specifications: what one trial is, what a study is, and every mistake in them said at once.

Everything that could change a trial's figures is a field of :class:`Trial`; its key is the SHA-256 of its canonical
JSON. A study file holds *grids*: the same fields, each with one value or a list of them, multiplied out.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import json
import re
import string
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)

Scalar = bool | int | float | str
Activation = Literal["relu", "sigmoid", "tanh", "identity", "elu", "gelu", "leaky_relu", "selu", "silu", "softplus"]
Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "step", "cosine", "one_cycle"]
Augmentation = Literal["none", "shift", "affine"]
Protocol = Literal["matched", "native"]
Loop = Literal["tuned", "idiomatic"]
Precision = Literal["float32", "float64", "bfloat16"]


def number_format(precision: str) -> str:
    """Return the NumPy name of the numbers that inputs and weights are kept in."""
    return "float64" if precision == "float64" else "float32"


class UserError(Exception):
    """A mistake in what the user gave (file, flag, data): shown as one message, exit status 2, never a traceback."""


@dataclass(frozen=True)
class Vocabulary:
    """The names that exist in this installation; config.py itself imports no backend.

    Attributes
    ----------
    backends : mapping of backend name to its engines (empty where it has none; the first is the default).
    architectures : mapping of registered architecture name to its options and their default values.
    allow_code : whether ``module:callable`` may be run: the user gave it on the command line, or said so.
    """

    backends: Mapping[str, tuple[str, ...]]
    architectures: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    allow_code: bool = False


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known spelling, or a full stop."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else "."


class Spec(BaseModel):
    """Base of all specifications: frozen, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FeedForward(Spec):
    """A feed-forward network (an FFN or DNN): hidden dense layers, then one logit a class.

    Attributes
    ----------
    hidden_layer_sizes : neurons of each hidden layer.
    activations : the activation of each hidden layer; one name stands for all.
    dropout : share of each hidden layer's outputs dropped in training.
    batch_norm : batch normalization between each hidden layer's product and its activation.
    """

    name: Literal["ffn"] = "ffn"
    hidden_layer_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(min_length=1)]
    activations: tuple[Activation, ...] = ("relu",)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_norm: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_activation_for_all(cls, data: Any) -> Any:
        data = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        sizes, activations = data.get("hidden_layer_sizes", ()), data.get("activations", ("relu",))
        activations = (activations,) if isinstance(activations, str) else activations
        if isinstance(activations, tuple) and len(activations) == 1 and isinstance(sizes, tuple):
            activations *= len(sizes)
        return {**data, "activations": activations}

    @model_validator(mode="after")
    def _as_many_activations_as_layers(self) -> Self:
        if len(self.activations) != len(self.hidden_layer_sizes):
            raise ValueError(
                f"{len(self.hidden_layer_sizes)} hidden layers but {len(self.activations)} activations; "
                "give one for all, or one for each"
            )
        return self

    @property
    def label(self) -> str:
        """The spelling of the command line (``ffn:16x64:sigmoid``), with options behind it (``+dropout=0.2``)."""
        sizes, activations = self.hidden_layer_sizes, self.activations
        same = len(sizes) > 2 and len(set(sizes)) == 1
        text = "ffn:" + (f"{len(sizes)}x{sizes[0]}" if same else "-".join(map(str, sizes)))
        if set(activations) != {"relu"}:
            text += ":" + (activations[0] if len(set(activations)) == 1 else "-".join(activations))
        text += f"+dropout={self.dropout:g}" if self.dropout else ""
        return text + ("+batch_norm" if self.batch_norm else "")


class Registered(Spec):
    """An architecture from ``backends/models/``, by name, with its options.

    Attributes
    ----------
    name : the registered name.
    options : every option of the architecture, defaults filled in.
    changed : the options that differ from their defaults, in order of name.
    """

    name: str
    options: dict[str, Scalar] = Field(default_factory=dict)
    changed: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any, info: ValidationInfo) -> Any:
        vocabulary: Vocabulary | None = info.context
        if vocabulary is None:
            return {**data, "changed": tuple(data.get("changed", ()))}
        name, options = data.get("name"), data.get("options", {})
        if name not in vocabulary.architectures:
            known = sorted(vocabulary.architectures)
            hint = nearest(str(name), [*known, "ffn"])
            raise ValueError(f"{name!r} is not an architecture{hint} Known: ffn:SIZES[:ACTIVATION], {', '.join(known)}")
        defaults = vocabulary.architectures[name]
        if not isinstance(options, dict):
            raise ValueError(
                f"options of {name} are {options!r}; write them as an object: {json.dumps(dict(defaults))}"
            )
        for key, value in options.items():
            if key not in defaults:
                allowed = ", ".join(defaults) or "none"
                raise ValueError(f"{name} has no option {key!r}{nearest(key, defaults)} Its options: {allowed}")
            if not _same_kind(value, defaults[key]):
                kind = type(defaults[key]).__name__
                raise ValueError(f"option {key} of {name} is {value!r}; it takes a value of type {kind}")
        changed = tuple(sorted(key for key, value in options.items() if value != defaults[key]))
        return {**data, "options": {**defaults, **options}, "changed": changed}

    @property
    def label(self) -> str:
        """The name, with the options behind it that differ from their defaults."""
        return self.name + "".join(f"+{key}={self.options[key]}" for key in self.changed)


class Custom(Spec):
    """A network of the user's own: what a callable of theirs returns.

    Attributes
    ----------
    place : ``module:callable`` or ``FILE.py:callable``.
    options : what the callable is given by name, beside ``input_shape`` and ``classes`` where it takes them.
    sha256 : hash of the file that it is in: one that was changed is another network.
    """

    name: Literal["custom"] = "custom"
    place: str
    options: dict[str, Scalar] = Field(default_factory=dict)
    sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _may_be_run(cls, data: Any, info: ValidationInfo) -> Any:
        vocabulary: Vocabulary | None = info.context
        if vocabulary is None:
            return data
        place = data["place"]
        if not vocabulary.allow_code:
            raise ValueError(f"{place!r} is code, and is not run because a file says so; give it with --arch, or say "
                             "--allow-code")  # fmt: skip
        return {**data, "sha256": hashlib.sha256(source_of(place).read_bytes()).hexdigest()}

    @property
    def label(self) -> str:
        """The place, with the options behind it."""
        return self.place + "".join(f"+{key}={value}" for key, value in sorted(self.options.items()))


def source_of(place: str) -> Path:
    """Return the file of a ``module:callable`` without running it.

    Raises
    ------
    ValueError
        Where there is none.
    """
    module = place.partition(":")[0]
    path = Path(module) if module.endswith(".py") else Path(*module.split(".")).with_suffix(".py")
    for folder in (Path(), Path(__file__).parent):
        if (folder / path).is_file():
            return folder / path
    raise ValueError(f"{place!r}: there is no file {path} here; write module:callable or FILE.py:callable")


def _same_kind(value: object, default: Scalar) -> bool:
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


_FFN = re.compile(r"ffn:(?P<sizes>[0-9x-]+)(:(?P<activations>[a-z_-]+))?")
_FFN_FORM = "write ffn:SIZES[:ACTIVATIONS], such as ffn:64, ffn:128-64, ffn:16x64:sigmoid or ffn:32-32:relu-tanh"


@functools.lru_cache
def parse_architecture(text: str) -> Mapping[str, Any]:
    """Turn the command line's spelling of an architecture, as tables have it, into the fields of its specification.

    Options stand behind it: ``attention_2k+scores=uniform``, ``ffn:64+dropout=0.2+batch_norm``.

    Raises
    ------
    ValueError
        With the form to write, where a feed-forward network is misspelt.
    """
    before, colon, after = text.rpartition(":")
    last, *given = after.split("+")
    options = {key: _scalar(value) if equals else True for key, equals, value in (one.partition("=") for one in given)}
    return options | _network(before + colon + last)


def _scalar(text: str) -> Any:
    """Read an option's value: JSON where it is a number or true or false, or else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _network(text: str) -> dict[str, Any]:
    if ":" in text and text.partition(":")[0] != "ffn":
        return {"name": "custom", "place": text}
    if not text.startswith("ffn"):
        return {"name": text}
    match = _FFN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a feed-forward network; {_FFN_FORM}")
    sizes: list[int] = []
    for part in match["sizes"].split("-"):
        count, times, size = part.rpartition("x")
        if not size.isdigit() or (times and not count.isdigit()) or int(count or 1) > 1000:
            raise ValueError(f"{text!r} is not a feed-forward network; {_FFN_FORM}")
        sizes += [int(size)] * int(count or 1)
    fields: dict[str, Any] = {"name": "ffn", "hidden_layer_sizes": tuple(sizes)}
    if match["activations"]:
        fields["activations"] = tuple(match["activations"].split("-"))
    return fields


def _architecture(value: Any, info: ValidationInfo) -> FeedForward | Registered | Custom:
    if isinstance(value, FeedForward | Registered | Custom):
        return value
    if isinstance(value, str):
        value = parse_architecture(value)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError(f'{value!r} is not an architecture; write \'ffn:64\' or {{"name": "ffn:64", ...options}}')
    head = parse_architecture(value["name"]) if value["name"] not in ("ffn", "custom") else {}
    value = {**value, **head}
    if value["name"] == "ffn":
        return FeedForward.model_validate(value, context=info.context)
    if "options" not in value:  # as a person writes it: the options beside the name
        options = {key: item for key, item in value.items() if key not in ("name", "place")}
        value = {key: item for key, item in value.items() if key not in options} | {"options": options}
    return (Custom if value["name"] == "custom" else Registered).model_validate(value, context=info.context)


Architecture = Annotated[SerializeAsAny[FeedForward | Registered | Custom], PlainValidator(_architecture)]


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
        return self

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def canonical(self) -> str:
        """Return the specification as JSON with sorted keys and no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

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


class Range(Spec):
    """The numbers from `low` to `high`, whole ones where both ends are; `log`: searched by order of magnitude."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _goes_up(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"goes from low {self.low:g} to high {self.high:g}; low must be the smaller")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, found {self.low:g}")
        return self


class Budget(Spec):
    """What each contender of a search may spend; it ends where the first of these is spent.

    Attributes
    ----------
    trials : candidates tried.
    seconds : of trials, from a trial's data to its record.
    epochs : of training.
    """

    trials: Annotated[int, Field(ge=1)] | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _is_finite(self) -> Self:
        if self.trials is self.seconds is self.epochs is None:
            raise ValueError('needs trials, seconds or epochs, such as {"trials": 30}')
        return self


Objective = Literal["val_accuracy", "val_log_loss", "parameters", "flops_per_sample", "model_bytes", "fit_s",
                    "latency_ms_p50", "energy_j"]  # fmt: skip


class Search(Spec):
    """How the best of a space is looked for, by validation figures alone, the same way for every contender.

    Attributes
    ----------
    space : what is searched: fields of a trial as in `base`, each a list of values or a :class:`Range`. An architecture
        may be text with names in braces, ``ffn:{layers}x{width}``, and the names stand beside it.
    sampler : ``tpe``, Optuna's tree-structured Parzen estimator; ``random``.
    seed : of the sampler, of the data's split, and of all trials of the search.
    rungs : epochs after which a candidate may be given up; each rung is a trial of its own, of so many epochs.
    pruner : ``median`` gives up what at a rung is worse than the median of those before it; ``none``.
    objectives : one, or several, for which no candidate may be beaten in all.
    seeds : with how many fresh seeds the winner is trained and tested.
    """

    space: dict[str, list[Scalar] | Range | str]
    budget: Budget = Budget(trials=30)
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**16)] = 0
    rungs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    pruner: Literal["none", "median"] = "none"
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("val_accuracy",)
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5

    @model_validator(mode="before")
    @classmethod
    def _as_json_has_it(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        listed = {name: tuple(data[name]) for name in ("rungs", "objectives") if isinstance(data.get(name), list)}
        space = data.get("space")
        return {**data, **listed, "space": _unfolded(space) if isinstance(space, dict) else space}

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if not self.parameters:
            raise ValueError("space has nothing to search: give a field a list of values, or a range of low and high")
        if not all(value for value in self.space.values()):
            raise ValueError("space has an empty list; give at least one value")
        if (self.pruner != "none") != bool(self.rungs):
            raise ValueError('rungs and a pruner go together: "pruner": "median", "rungs": [3]')
        if self.rungs and len(self.objectives) > 1:
            raise ValueError("several objectives cannot be pruned by one; leave out pruner and rungs")
        return self

    @property
    def parameters(self) -> dict[str, list[Scalar] | Range]:
        """What is searched, by name: dotted leaves of a trial, and names that stand in a text."""
        return {name: value for name, value in self.space.items() if not isinstance(value, str)}

    def leaves(self, chosen: Mapping[str, Scalar]) -> dict[str, list[Any]]:
        """Return a candidate's leaves, of a value each.

        Raises
        ------
        UserError
            Where a text names what is not in the space.
        """
        texts = {leaf: text for leaf, text in self.space.items() if isinstance(text, str)}
        named = _named(self.space)
        missing = named - set(chosen)
        if missing:
            raise UserError(f"search.space: {{{min(missing)}}} stands in a text, and is not in the space")
        leaves = {leaf: [value] for leaf, value in chosen.items() if leaf not in named}
        return leaves | {leaf: [text.format_map(chosen)] for leaf, text in texts.items()}

    def without(self, fixed: Collection[str]) -> Search:
        """Return the same search with some leaves fixed, and so no longer in the space, nor the names in their texts.

        Raises
        ------
        UserError
            Where nothing is left to search.
        """
        space = {leaf: value for leaf, value in self.space.items() if leaf not in fixed}
        unused = _named(self.space) - _named(space)
        left = self.model_copy(update={"space": {name: value for name, value in space.items() if name not in unused}})
        if not left.parameters:
            raise UserError(f"search.space: nothing is left to search where {', '.join(sorted(fixed))} are given")
        return left


def _named(space: Mapping[str, Any]) -> set[str]:
    """Return the names in braces of a space's texts."""
    texts = [value for value in space.values() if isinstance(value, str)]
    return {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}


def _unfolded(space: Mapping[str, Any]) -> dict[str, Any]:
    """Give the leaves of a space by their dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in space.items():
        group = name in ("training", "features") and isinstance(value, dict)
        leaves |= {f"{name}.{leaf}": inner for leaf, inner in value.items()} if group else {name: value}
    return leaves


class Study(Spec):
    """A named question and the trials that answer it.

    Attributes
    ----------
    name : letters, digits, ``_`` and ``-``; part of the run's directory name.
    question : what the study is about, in one sentence.
    base : fields shared by all grids.
    grids : fields that differ; each grid is `base` with these laid over it. Any leaf may be a list of values.
    recommend : the column whose best value the study ends by recommending; null for none.
    optional_datasets : data sets whose trials are left out where they are not on disk.
    chart : the chart that the study is about, the report's first; null for the first that it has.
    search : how the best of a space is looked for, for ``compare.py tune``; null where the grids say all.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    question: str
    base: dict[str, Any] = Field(default_factory=dict)
    grids: list[dict[str, Any]] = Field(default=[{}], min_length=1)
    recommend: str | None = None
    optional_datasets: list[str] = Field(default_factory=list)
    chart: str | None = None
    search: Search | None = None

    def leaves(self) -> list[dict[str, list[Any]]]:
        """Return each grid as a mapping of dotted leaf to the list of its values."""
        return [{**flatten(self.base), **flatten(grid)} for grid in self.grids]


def flatten(grid: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Give every leaf by its dotted name, as a list; an architecture's own fields are not leaves."""
    leaves: dict[str, list[Any]] = {}
    for name, value in grid.items():
        if name in ("training", "features") and isinstance(value, dict):
            leaves |= {f"{name}.{leaf}": _listed(inner) for leaf, inner in value.items()}
        elif name == "seeds":
            leaves["seed"] = list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else [value]
        else:
            leaves[name] = _listed(value)
    return leaves


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def expand(grids: Sequence[Mapping[str, list[Any]]], vocabulary: Vocabulary) -> list[Trial]:
    """Multiply grids out into trials, seeds outermost, without duplicates.

    Parameters
    ----------
    grids : as :meth:`Study.leaves` gives them.

    Raises
    ------
    UserError
        One line for each mistake: its dotted path, what was found, and the fix.
    """
    problems: dict[str, set[int]] = {}
    trials: dict[str, Trial] = {}
    for number, grid in enumerate(grids):
        for leaf in (leaf for leaf, values in grid.items() if not values):
            name = "seeds" if leaf == "seed" else leaf
            problems.setdefault(f"{name}: the list is empty; give at least one value", set()).add(number)
        for fields in _products(grid, vocabulary):
            try:
                trial = Trial.model_validate(fields, context=vocabulary)
                trials[trial.model_dump_json()] = trial
            except ValidationError as error:
                for line in explain(error, Trial):
                    problems.setdefault(line, set()).add(number)
    if problems:
        raise UserError(
            "\n".join(
                line if len(where) == len(grids) else f"grids[{min(where)}].{line}" for line, where in problems.items()
            )
        )
    return sorted(trials.values(), key=lambda trial: trial.seed)


def _products(grid: Mapping[str, list[Any]], vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        fields: dict[str, Any] = {}
        for leaf, value in zip(grid, values, strict=True):
            group, _, name = leaf.rpartition(".")
            target = fields.setdefault(group, {}) if group else fields
            if isinstance(target, dict):  # else the group itself is no object, which validation will say
                target[name] = value
        engines = vocabulary.backends.get(str(fields.get("backend")), ())
        if not engines and max(len(grid.get("engine", ())), len(grid.get("backend", ()))) > 1:
            fields["engine"] = None  # among several backends, an engine speaks to those that have it
        elif engines and fields.get("engine") is None:
            fields["engine"] = engines[0]
        yield fields


_FIELD = re.compile(r"[a-z0-9_]+")


def explain(error: ValidationError, model: type[Spec]) -> list[str]:
    """Turn pydantic's errors into one line a field: dotted path, value found, what is allowed, nearest spelling."""
    messages: dict[tuple[str, str], list[str]] = {}
    for item in error.errors():
        # a union's members ("constrained-float", "FeedForward") stand in the path, and are no fields
        unknown = item["loc"][-1:] if item["type"] == "extra_forbidden" else ()  # written as the user likes
        inner = item["loc"][: len(item["loc"]) - len(unknown)]
        names = [str(part) for part in (*filter(_FIELD.fullmatch, map(str, inner)), *unknown)]
        found, message = "", item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _fields(model, names[:-1])
            groups = [
                group
                for group in ("training", "features")
                if names == names[-1:] and group in known and names[-1] in _fields(model, [group])
            ]
            hint = f"; did you mean {groups[0]}.{names[-1]}?" if groups else nearest(names[-1], known)
            written = [{"seed": "seeds"}.get(name, name) for name in known if name != "data_sha256"]
            message = f"is not a known field{hint} Known: {', '.join(written)}"
        elif item["type"] == "too_short" and item["input"]:
            continue  # its items are wrong, not too few: they have messages of their own
        elif item["type"] == "missing":
            message = "is missing; it has no default"
        elif item["type"] != "value_error":
            found = f"found {_short(item['input'])}; "
            message = message[0].lower() + message[1:] + _spelling(item["input"], item.get("ctx"))
        messages.setdefault((".".join(names).replace("seed", "seeds"), found), []).append(message)
    return [
        (f"{path}: " if path else "") + found + ", or ".join(dict.fromkeys(texts))
        for (path, found), texts in messages.items()
    ]


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for name in path:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return list(FeedForward.model_fields)
        model = annotation
    return list(model.model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _spelling(found: object, context: Mapping[str, Any] | None) -> str:
    allowed = re.findall(r"'([^']*)'", str((context or {}).get("expected", "")))
    return nearest(found, allowed).rstrip(".") if isinstance(found, str) else ""
