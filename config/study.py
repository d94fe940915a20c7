"""A study: a question, and the grids that multiply out into its trials."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from config.mistakes import explain
from config.search import Search
from config.spec import Spec, UserError, Vocabulary
from config.trial import Trial


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
    against_base : whether the table holds every configuration against the first grid's of the same backend, data and split,
        of which there must then be one.
    search : how the best of a space is looked for, for ``compare.py tune``; null where the grids say all.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    question: str
    base: dict[str, Any] = Field(default_factory=dict)
    grids: list[dict[str, Any]] = Field(default=[{}], min_length=1)
    recommend: str | None = None
    optional_datasets: list[str] = Field(default_factory=list)
    chart: str | None = None
    against_base: bool = False
    search: Search | None = None

    @model_validator(mode="after")
    def _no_base_of_a_search(self) -> Self:
        if self.search is not None and self.against_base:
            raise ValueError("against_base: a search has contenders and no base; leave it out")
        return self

    def leaves(self) -> list[dict[str, list[Any]]]:
        """Return each grid as a mapping of dotted leaf to the list of its values."""
        return [{**flatten(self.base), **flatten(grid)} for grid in self.grids]


_MOST_SEEDS = 100_000


def flatten(grid: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Give every leaf by its dotted name, as a list; an architecture's own fields are not leaves.

    Raises
    ------
    UserError
        Where there are too many seeds to list them.
    """
    leaves: dict[str, list[Any]] = {}
    for name, value in grid.items():
        if name in ("training", "features") and isinstance(value, dict):
            leaves |= {f"{name}.{leaf}": _listed(inner) for leaf, inner in value.items()}
        elif name == "seeds":
            leaves["seed"] = _seeds(value)
        else:
            leaves[name] = _listed(value)
    return leaves


def _seeds(number: Any) -> list[Any]:
    if not isinstance(number, int) or isinstance(number, bool):
        return [number]  # which validation will refuse
    if number > _MOST_SEEDS:
        raise UserError(f"seeds: found {number}; give at most {_MOST_SEEDS:,}")
    return list(range(number))


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
