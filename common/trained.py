"""Networks as they were trained: a configuration's trials, and of several ways of training one the way that counts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from common.published import DEPTHS, EXPLORATION_RECIPE, LIGHTWEIGHT, LIGHTWEIGHT_RECIPE, NODES
from common.stats import MeanInterval, evidence_interval
from common.summary import SPEC_FIELDS, configuration

RECIPE_FIELDS = [name for name in SPEC_FIELDS if name != "architecture"]
"""What two networks must share to be compared."""

RECIPES: dict[str, tuple[Mapping[str, Any], int]] = {
    model.architecture: (recipe, model.epochs)
    for recipe, models in ((LIGHTWEIGHT_RECIPE, LIGHTWEIGHT), (EXPLORATION_RECIPE, (*NODES, *DEPTHS)))
    for model in models
}
"""How each published network was trained there, and the epochs."""


@dataclass(frozen=True)
class Trained:
    """One architecture as it was trained in one way, its trials by seed."""

    architecture: str
    trials: pd.DataFrame

    @property
    def recipe(self) -> tuple[Hashable, ...]:
        """All of the configuration but the architecture."""
        return configuration(self.trials.iloc[0].to_dict(), RECIPE_FIELDS)

    @property
    def accuracy(self) -> MeanInterval:
        """The mean test accuracy in percent."""
        return evidence_interval(100 * self.trials["test_accuracy"], bounds=(0, 100))

    @property
    def val_accuracy(self) -> float:
        """The mean validation accuracy, a share."""
        return float(self.trials["val_accuracy"].mean())

    @property
    def parameters(self) -> float:
        """How many it has, which no seed changes."""
        return float(self.trials["parameters"].iloc[0])

    def first(self, column: str) -> float | None:
        """Return a figure that no seed changes, or that one seed measured."""
        values = self.trials[column].dropna()
        return float(values.iloc[0]) if len(values) else None

    def unlike(self, other: Trained) -> list[str]:
        """Return the settings in which two ways of training differ."""
        both = zip(RECIPE_FIELDS, self.recipe, other.recipe, strict=True)
        return [name for name, one, another in both if one != another]

    def unlike_published(self) -> list[str]:
        """Return the settings in which the training differs from the published one, apart from the epochs."""
        recipe, _ = RECIPES.get(self.architecture, ({}, 0))
        return [name for name, value in recipe.items() if self.trials[name].iloc[0] != value]

    def preference(self) -> tuple[bool, bool, int, float, float]:
        """Return what decides between several ways of training: the largest counts."""
        epochs = float(self.trials["max_epochs"].iloc[0])
        _, published = RECIPES.get(self.architecture, ({}, 0))
        return not self.unlike_published(), epochs == published, len(self.trials), epochs, self.val_accuracy


def configurations(trials: pd.DataFrame) -> list[Trained]:
    """Return the configurations of trials, a row each; a trial that is there twice counts once, timed alone where it was."""
    once = trials.sort_values("contended", kind="stable").drop_duplicates([*SPEC_FIELDS, "seed"])
    groups = once.groupby(SPEC_FIELDS, dropna=False, sort=False)
    return [Trained(str(several["architecture"].iloc[0]), several.set_index("seed")) for _, several in groups]


def of_architecture(trained: Iterable[Trained], architecture: str) -> Trained | None:
    """Return an architecture in the way of training that counts, None where there is no trial of it."""
    return next(iter(best_first(found for found in trained if found.architecture == architecture)), None)


def of_family(trained: Iterable[Trained], heads: tuple[str, ...]) -> list[Trained]:
    """Return the networks whose names begin so, in every way of training.

    Twins, and networks with dense projections, lack the attention that their names stand for, and are left out.
    """
    variants = ("+scores=", "+projections=")
    return [
        found
        for found in trained
        if found.architecture.startswith(heads) and not any(variant in found.architecture for variant in variants)
    ]


def best_first(trained: Iterable[Trained]) -> list[Trained]:
    """Return each architecture in the way of training that counts, the best by mean validation accuracy first."""
    ways: dict[str, list[Trained]] = {}
    for found in trained:
        ways.setdefault(found.architecture, []).append(found)
    chosen = [max(several, key=Trained.preference) for several in ways.values()]
    return sorted(chosen, key=lambda found: found.val_accuracy, reverse=True)
