"""A search: its space, its budget, and how candidates are chosen and given up."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from config.spec import Scalar, Spec, UserError


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
        for text in _texts(self.space).values():
            if "{" in (rest := _NAME.sub("", text)) or "}" in rest:
                raise ValueError(f"space has {text!r}; braces hold a name each, as in ffn:{{layers}}x{{width}}")
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
        named = _named(self.space)
        missing = named - set(chosen)
        if missing:
            raise UserError(f"search.space: {{{min(missing)}}} stands in a text, and is not in the space")
        leaves = {leaf: [value] for leaf, value in chosen.items() if leaf not in named}
        texts = _texts(self.space).items()
        return leaves | {leaf: [_NAME.sub(lambda name: str(chosen[name[1]]), text)] for leaf, text in texts}

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


_NAME = re.compile(r"\{(\w+)\}")


def _texts(space: Mapping[str, Any]) -> dict[str, str]:
    return {leaf: value for leaf, value in space.items() if isinstance(value, str)}


def _named(space: Mapping[str, Any]) -> set[str]:
    """Return the names in braces of a space's texts."""
    return {name for text in _texts(space).values() for name in _NAME.findall(text)}


def _unfolded(space: Mapping[str, Any]) -> dict[str, Any]:
    """Give the leaves of a space by their dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in space.items():
        group = name in ("training", "features") and isinstance(value, dict)
        leaves |= {f"{name}.{leaf}": inner for leaf, inner in value.items()} if group else {name: value}
    return leaves
