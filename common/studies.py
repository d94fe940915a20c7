"""Studies: finding and reading their files, laying the command line over them, and multiplying them out."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from common import data
from common.catalog import SOURCES
from common.data import Dataset
from common.inputs import cut, input_shape
from config import Study, Trial, UserError, Vocabulary, expand, explain, nearest

_SHIPPED = Path(__file__).resolve().parent.parent / "studies"

_BESIDE_A_BASE = ("backend", "engine", "dataset", "train_share", "rows", "seed")
"""Leaves of which a base may have several values: each configuration is held against the one that shares its own."""

Leaves = Mapping[str, Sequence[Any]]
"""Values by dotted leaf (``training.epochs``), as the command line gives them."""

Grids = dict[int, dict[str, list[Any]]]
"""A study's grids by their number in it: the first is the base, and the command line may leave it out."""


def shipped() -> dict[str, Path]:
    """Return the studies that come with samenet, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.json"))}


def read(name: str | Mapping[str, Any]) -> Study:
    """Read a shipped study by name, or a study file by path; or take what would stand in one.

    Raises
    ------
    UserError
        One line for each mistake in the file.
    """
    if isinstance(name, Mapping):
        return _checked(name, "study")
    path = shipped().get(name, Path(name))
    if not path.is_file():
        known = ", ".join(shipped())
        raise UserError(
            f"study: {name!r} is neither a shipped study nor a file{nearest(name, shipped())} Shipped: {known}"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path}: found a {type(fields).__name__}; a study is an object with name, question and base")
    return _checked({"name": path.stem, **fields}, str(path))


def _checked(fields: Mapping[str, Any], where: str) -> Study:
    try:
        return Study.model_validate({"name": "study", **fields})
    except ValidationError as error:
        raise UserError("\n".join(f"{where}: {line}" for line in explain(error, Study))) from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def trials(study: Study, over: Leaves, vocabulary: Vocabulary, defaults: Leaves = MappingProxyType({})) -> list[Trial]:
    """Multiply a study out into its trials, with the command line's values laid over it.

    A backend or engine on the command line *selects*: grids without it are left out, unless no grid has it, and then
    it replaces what they have, an engine where one of a grid's backends has any. Any other value replaces the study's.
    `defaults` hold where neither says anything.
    """
    return expand([*_laid_over(study, over, vocabulary, defaults).values()], vocabulary)


def _laid_over(study: Study, over: Leaves, vocabulary: Vocabulary, defaults: Leaves) -> Grids:
    usual = {leaf: [*values] for leaf, values in defaults.items()}
    grids: Grids = {number: {**usual, **grid} for number, grid in enumerate(study.leaves())}
    for leaf, values in over.items():
        if leaf in ("backend", "engine"):
            chosen = {
                number: {**grid, leaf: [v for v in values if v in grid.get(leaf, ())]} for number, grid in grids.items()
            }
            kept = {number: grid for number, grid in chosen.items() if grid[leaf]}
            missing = [value for value in values if not any(value in grid[leaf] for grid in kept.values())]
            grids = kept if not missing else _replaced(grids, leaf, values, vocabulary)
        else:
            grids = {number: {**grid, leaf: list(values)} for number, grid in grids.items()}
    return grids


def _replaced(grids: Grids, leaf: str, values: Sequence[Any], vocabulary: Vocabulary) -> Grids:
    """Lay a backend over all grids, and an engine over those with a backend that has engines, or over all without."""
    engines = {number: any(vocabulary.backends.get(str(name)) for name in grid.get("backend", ()))
               for number, grid in grids.items()}  # fmt: skip
    everywhere = leaf == "backend" or not any(engines.values())
    return {
        number: {**grid, leaf: [*values]} if everywhere or engines[number] else grid for number, grid in grids.items()
    }


@dataclass(frozen=True)
class Searched:
    """A search's run, by name, and what ``study.json`` says of it: how was searched, and every candidate in order."""

    run_name: str
    said: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A study multiplied out on its data: what is run, and what the run is called.

    Attributes
    ----------
    datasets : by name.
    sources : what :func:`common.data.load` takes for each of them.
    missing : optional data sets that are not on disk.
    base : keys of the trials that the others are held against.
    searched : of the plan of a search; None where nothing is searched.
    """

    study: Study
    trials: Sequence[Trial]
    datasets: Mapping[str, Dataset]
    sources: Mapping[str, str]
    missing: Sequence[str]
    base: Sequence[str] = ()
    searched: Searched | None = None

    @functools.cached_property
    def keys(self) -> list[str]:
        """The key of each trial."""
        return [trial.key for trial in self.trials]

    @property
    def run_name(self) -> str:
        """Study, data sets and eight hex digits of all trials' keys: the same command has the same name."""
        if self.searched is not None:
            return self.searched.run_name
        digest = hashlib.sha256("".join(self.keys).encode()).hexdigest()
        return "-".join([self.study.name, *self.datasets, digest[:8]])

    @functools.cached_property
    def varying(self) -> list[str]:
        """The settings that tell trials apart, see :func:`common.naming.telling_fields`."""
        import pandas as pd

        from common.naming import telling_fields

        return telling_fields(pd.DataFrame([trial.flat() for trial in self.trials]))

    @property
    def note(self) -> str | None:
        """What every output must say of the data."""
        notes = [dataset.note for dataset in self.datasets.values() if dataset.note]
        if self.missing:
            notes.append(f"{', '.join(self.missing)} left out: not on disk.")
        return " ".join(notes) or None

    def description(self) -> dict[str, Any]:
        """Return what ``study.json`` holds."""
        return {
            "name": self.study.name,
            "question": self.study.question,
            "recommend": self.study.recommend,
            "chart": self.study.chart,
            "datasets": list(self.datasets),
            "note": self.note,
            "base": self.base,
            "keys": self.keys,
            **(self.searched.said if self.searched is not None else {}),
        }

    def first_of_configuration(self) -> set[str]:
        """Return the keys of the first seed of each configuration, whose peak memory is measured."""
        firsts: dict[str, str] = {}
        for trial, key in zip(self.trials, self.keys, strict=True):
            firsts.setdefault(trial.model_copy(update={"seed": 0}).canonical(), key)
        return set(firsts.values())


def plan(study: Study, over: Leaves, vocabulary: Vocabulary, data_dir: str | None, defaults: Leaves) -> Plan:
    """Multiply a study out, read its data, and check every trial against them before anything is trained.

    Raises
    ------
    UserError
        For a mistake in the study, on the command line, or in the data.
    """
    if study.search is not None:
        raise UserError(f"study: {study.name} is a search; give it to compare.py tune")
    grids = _laid_over(study, over, vocabulary, defaults)
    found = expand([*grids.values()], vocabulary)
    for name in ("split_seed", "scored_on"):
        if any(getattr(trial, name) is not None for trial in found):
            raise UserError(f"{name}: is set by compare.py tune alone; leave it out")
    unknown = [name for name in study.optional_datasets if name not in SOURCES]
    if unknown:
        raise UserError(f"optional_datasets: {unknown[0]!r} is none of {', '.join(SOURCES)}")
    missing = [name for name in study.optional_datasets if "dataset" not in over and not data.on_disk(name, data_dir)]
    found = [trial for trial in found if trial.dataset not in missing]
    if not found:
        raise UserError(f"optional_datasets: nothing is left of study {study.name}: {', '.join(missing)} not on disk")
    loaded = {source: data.load(source, data_dir) for source in dict.fromkeys(trial.dataset for trial in found)}
    names = [dataset.name for dataset in loaded.values()]
    if len(set(names)) < len(names):
        raise UserError(f"dataset: two of {', '.join(loaded)} are both called {names[0]!r}; rename one file")
    resolved = _resolved(found, loaded)
    _check_recommend(study, resolved[0])
    _check_chart(study)
    checked: set[Any] = set()
    for trial in resolved:
        _check_split(trial, loaded, checked)
    return Plan(
        study,
        resolved,
        missing=missing,
        base=[trial.key for trial in _resolved(_base(study, grids, over, vocabulary), loaded)],
        datasets={dataset.name: dataset for dataset in loaded.values()},
        sources={dataset.name: source for source, dataset in loaded.items()},
    )


def _resolved(found: Sequence[Trial], loaded: Mapping[str, Dataset]) -> list[Trial]:
    """Give trials the names and hashes of their data; those of data left out are left out."""
    return [
        trial.model_copy(update={"dataset": loaded[trial.dataset].name, "data_sha256": loaded[trial.dataset].sha256})
        for trial in found
        if trial.dataset in loaded
    ]


def _base(study: Study, grids: Grids, over: Leaves, vocabulary: Vocabulary) -> list[Trial]:
    """Return the trials that a study's others are held against; none where it does not ask for it, or they are left out.

    Raises
    ------
    UserError
        Where the study's first grid is several configurations of the same backend, data and split.
    """
    if not study.against_base or 0 not in grids:
        return []
    first = grids[0]
    several = [leaf for leaf, values in first.items() if len(values) > 1 and leaf not in [*_BESIDE_A_BASE, *over]]
    if several:
        raise UserError(f"against_base: {several[0]} has more than one value in the first grid, which the others are to "
                        "be held against; give it one")  # fmt: skip
    return expand([first], vocabulary)


def _check_recommend(study: Study, trial: Trial) -> None:
    known = [name for name in trial.flat() if name != "seed"]
    for name in map(str.strip, study.recommend.split(",") if study.recommend else ()):
        if name not in known:
            raise UserError(f"recommend: {name!r} is not a setting{nearest(name, known)} Known: {', '.join(known)}")


def _check_chart(study: Study) -> None:
    if study.chart is None:
        return
    from common.report import gallery

    if not gallery.known(study.chart):
        raise UserError(
            f"chart: {study.chart!r} is no chart; write one such as accuracy-by-nodes, fit_s-overview or pareto-parameters"
        )


def _check_split(trial: Trial, loaded: Mapping[str, Dataset], checked: set[Any]) -> None:
    """Try a split once for each way of cutting: whether it can be cut does not depend on the seed."""
    way = (trial.dataset, trial.train_share, trial.rows, trial.training.validation, trial.features)
    if way in checked:
        return
    checked.add(way)
    dataset = next(dataset for dataset in loaded.values() if dataset.name == trial.dataset)
    input_shape(trial, dataset, train_rows=len(cut(trial, dataset).train))
