"""Which of a run's trials stand for all of them in pictures: each framework's best network by validation accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from common.report.measures import by_backend
from common.summary import SAME_TEST, configuration

if TYPE_CHECKING:
    from common.results import Results


@dataclass(frozen=True)
class Chosen:
    """A framework's best network.

    Attributes
    ----------
    records : of the trials that ended well, one a seed.
    """

    backend: str
    architecture: str
    records: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """Framework and architecture in one line."""
        return f"{self.backend} {self.architecture}"


def main_test(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the data set and split that most rows have, of several the last."""
    sizes = rows.groupby(SAME_TEST, dropna=False, sort=False)["n"].transform("size")
    most = rows[sizes == sizes.max()]
    number = most.groupby(SAME_TEST, dropna=False, sort=False).ngroup()
    chosen: pd.DataFrame = most[number == number.max()]
    return chosen


def best(results: Results, wanted: Callable[[str], bool] = lambda _: True) -> list[Chosen]:
    """Return each framework's best network among those whose architecture is `wanted`, by mean validation accuracy."""
    if not len(results.rows):
        return []
    rows = main_test(results.rows)
    rows = rows[rows["architecture"].map(wanted)]
    found = []
    for backend, group in rows.groupby(by_backend(rows), sort=True):
        row = group.to_dict("records")[int(group["val_accuracy_mean"].fillna(0).to_numpy().argmax())]
        records = [one for one in results.by_configuration[configuration(row)] if one["status"] == "ok"]
        found.append(Chosen(str(backend), str(row["architecture"]), records))
    return [one for one in found if one.records]
