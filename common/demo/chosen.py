"""Which of a run's models the demo shows: each framework's best, and the best attention network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.models.attention import SCORES
from common.store import Run
from common.trial import Record
from config import UserError

DRAWABLE = ("mnist", "digits")
"""The data sets whose classes are the ten digits."""


@dataclass(frozen=True)
class Chosen:
    """One model.

    Attributes
    ----------
    record : of the trial that left it, the first seed with a model.
    path : its file.
    val_accuracy : mean validation accuracy of its configuration, which it was chosen by.
    seeds : how many that is the mean of.
    """

    record: Record
    path: Path
    val_accuracy: float
    seeds: int

    @property
    def framework(self) -> str:
        """The backend, with its engine where it has one."""
        return framework(self.record)

    @property
    def attends(self) -> bool:
        """Whether it is a network whose attention weighs the positions of an image."""
        options = self.record["spec"]["architecture"].get("options", {})
        return any(SCORES.get(options.get("scores"), ()))

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"{self.framework} {self.record['architecture']}"


def framework(record: Mapping[str, Any]) -> str:
    """Return a record's backend, with its engine where it has one."""
    return "/".join(filter(None, (record["backend"], record["engine"])))


def dataset_of(run: Run) -> str:
    """Return the name of a run's first data set of digits.

    Raises
    ------
    UserError
        Where it has none: what is drawn would be no such image.
    """
    names: list[str] = run.study()["datasets"]
    found = next((name for name in names if name in DRAWABLE), None)
    if found is None:
        raise UserError(
            f"{run.name}: its images ({', '.join(names)}) are no digits that could be drawn; give a run on "
            f"{' or '.join(DRAWABLE)}"
        )
    return found


def choose(run: Run, dataset: str) -> list[Chosen]:
    """Return each framework's best model by mean validation accuracy, and the best attention network if it is no such.

    Test data have no say.

    Raises
    ------
    UserError
        Where no trial left a model.
    """
    records = [record for record in run.records(run.study()["keys"]) if record["dataset"] == dataset]
    models = _models(run, [record for record in records if record["status"] == "ok"])
    if not models:
        raise UserError(f"{run.name}: none of its trials on {dataset} has left a model; look at: compare.py table")
    bests: dict[str, Chosen] = {}
    for model in sorted(models, key=_worth):
        bests[model.framework] = model
    attending = max((model for model in models if model.attends), key=_worth, default=None)
    order = list(dict.fromkeys(framework(record) for record in records))
    chosen = sorted(bests.values(), key=lambda model: order.index(model.framework))
    return chosen if attending is None or attending in chosen else [*chosen, attending]


def _models(run: Run, records: Sequence[Record]) -> list[Chosen]:
    """Return one model for each configuration that has one."""
    configurations: dict[str, list[Record]] = {}
    for record in records:
        key = json.dumps({**record["spec"], "seed": None}, sort_keys=True)
        configurations.setdefault(key, []).append(record)
    found = []
    for seeds in configurations.values():
        scores = [record["val_accuracy"] for record in seeds if record["val_accuracy"] is not None]
        first = _first_with_model(run, seeds)
        if scores and first is not None:
            found.append(Chosen(*first, sum(scores) / len(scores), len(scores)))
    return found


def _first_with_model(run: Run, seeds: Iterable[Record]) -> tuple[Record, Path] | None:
    for record in sorted(seeds, key=lambda record: int(record["seed"])):
        path = next(run.artefacts(record["key"]).glob("model.*"), None)
        if path is not None:
            return record, path
    return None


def _worth(model: Chosen) -> tuple[float, int, str]:
    """Order models by what they are worth; of equals the smaller is worth more."""
    return model.val_accuracy, -(model.record["parameters"] or 0), model.title
