"""Architectures as specifications, and as the command line spells them."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
    field_serializer,
    model_validator,
)

from config.spec import Scalar, Spec, Vocabulary, nearest

Activation = Literal["relu", "sigmoid", "tanh", "identity", "elu", "gelu", "leaky_relu", "selu", "silu", "softplus"]


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


_SINCE: Mapping[str, Scalar] = {"positions": 64}
"""Options that came later, with the value that changes nothing: there, keys and initial weights are as they were before."""


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

    @field_serializer("options")
    def _as_before(self, options: dict[str, Scalar]) -> dict[str, Scalar]:
        return {name: value for name, value in options.items() if name not in _SINCE or value != _SINCE[name]}

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
        place = data.get("place")
        if not isinstance(place, str):
            raise ValueError(f"custom needs a place, module:callable or FILE.py:callable; found {place!r}")
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
    for folder in (Path(), Path(__file__).parent.parent):
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
