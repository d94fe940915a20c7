"""Tracking: finished trials as runs in TensorBoard or MLflow, made from their records once these are written."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from common import optional
from common.fields import FIGURES
from common.store import Run
from common.trial import Record
from config import Trial, UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

MODULES = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""The trackers, and what each of them imports."""

BY_EPOCH = ("train_loss", "val_log_loss", "val_accuracy", "epoch_s")
"""Figures of each epoch, as ``history.json`` names them."""


@dataclass(frozen=True)
class Finished:
    """A recorded trial, as trackers are told of it.

    Attributes
    ----------
    name : in words; no other trial of the run has it.
    settings : the flat specification, without what is null.
    history : by name, a figure for each epoch; empty where training did not end well.
    ended : when the record was written, in Unix seconds.
    digest : SHA-256 of the record's file: another one means that the trial ran again.
    """

    name: str
    settings: Mapping[str, str | int | float | bool]
    record: Record
    history: Mapping[str, Sequence[float | None]]
    ended: float
    digest: str

    @property
    def key(self) -> str:
        """The trial's key."""
        return str(self.record["key"])

    @property
    def ok(self) -> bool:
        """Whether the trial went well."""
        return bool(self.record["status"] == "ok")

    @property
    def began(self) -> float:
        """When the trial began, in Unix seconds."""
        return self.ended - (self.record["trial_s"] or 0.0)

    def figures(self) -> dict[str, float]:
        """Return the measured numbers of the whole trial: test scores, times, sizes, memory, energy."""
        found = {name: self.record[name] for name in FIGURES if name not in BY_EPOCH}
        return {name: value for name, value in found.items() if type(value) in (int, float)}

    def course(self) -> list[tuple[str, int, float, float]]:
        """Return each figure of each epoch: name, epoch from 1, Unix seconds, value.

        The times of two epochs lie as far apart as the training between them took, evaluation left out; when the
        first of them began was not recorded, so the last ends with the trial.
        """
        seconds = [value or 0.0 for value in self.history.get("epoch_s", ())]
        ends = [self.ended - sum(seconds[epoch:]) for epoch in range(1, len(seconds) + 1)]
        return [
            (name, epoch, end, value)
            for name in BY_EPOCH
            for epoch, (end, value) in enumerate(zip(ends, self.history.get(name, ()), strict=False), 1)
            if value is not None
        ]


class Tracker(Protocol):
    """Where finished trials are put for other tools to show."""

    def track(self, trial: Finished) -> None:
        """Put a trial there, in the place of an earlier record's; nothing happens where exactly this one is there."""
        ...

    def close(self) -> None:
        """Give back what is held open."""
        ...


def check_installed(names: Iterable[str]) -> None:
    """Check that the trackers `names` exist and are installed.

    Raises
    ------
    UserError
        Where one does not or is not, with what to type.
    """
    for name in names:
        if name not in MODULES:
            raise UserError(f"track: {name!r} is not known{nearest(name, MODULES)} Known: {', '.join(MODULES)}")
        optional.check_installed(f"track: {name}", MODULES[name], "requirements-tracking.txt")


class Tracking:
    """The trackers that a run was asked for; each is told once of every recorded trial.

    What fails in one ends no training: it is said at the end, and the same command tracks what is left.
    """

    def __init__(self, names: Iterable[str], run: Run, trials: Sequence[Trial]) -> None:
        self._run = run
        self._trackers = {name: _opened(name, run) for name in names}
        self._trials = _named(trials) if self._trackers else {}
        self._failures: dict[str, list[Exception]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tracker in self._trackers.values():
            tracker.close()
        for name, failures in self._failures.items():
            reason = f"{type(failures[0]).__name__}: {failures[0]}".splitlines()[0]
            message = f"track: {name} did not take {len(failures)} trials ({reason}); the same command tracks them"
            self._run.log(message)
            print(f"compare.py: warning: {message}", file=sys.stderr)

    def track(self, keys: Iterable[str]) -> None:
        """Put the recorded trials `keys` where they are not yet; of an unsupported one, nothing ran to be tracked."""
        if not self._trackers:
            return
        for trial in map(self._finished, keys):
            for name, tracker in self._trackers.items():
                if trial.record["status"] == "unsupported":
                    continue
                try:
                    tracker.track(trial)
                except Exception as error:  # a full disk, a store locked by another program: the record has it all
                    self._failures.setdefault(name, []).append(error)

    def _finished(self, key: str) -> Finished:
        artefacts, (name, trial) = self._run.artefacts(key), self._trials[key]
        path, history = artefacts.with_suffix(".json"), artefacts / "history.json"
        content = path.read_bytes()
        return Finished(
            name=name,
            settings={setting: value for setting, value in trial.flat().items() if value is not None},
            record=json.loads(content),
            history=json.loads(history.read_text(encoding="utf-8")) if history.exists() else {},
            ended=path.stat().st_mtime,
            digest=hashlib.sha256(content).hexdigest(),
        )


def _opened(name: str, run: Run) -> Tracker:
    if name == "tensorboard":
        from common.tracking_tensorboard import TensorBoard

        return TensorBoard(run.directory / "tensorboard")
    from common.tracking_mlflow import MLflow

    return MLflow(run)


def _named(trials: Sequence[Trial]) -> dict[str, tuple[str, Trial]]:
    """Return each trial with its name by its key: backend and architecture, what varies between trials, the seed."""
    import pandas as pd

    from common.naming import row_names

    rows: pd.DataFrame = pd.DataFrame([trial.flat() for trial in trials])
    names = [f"{name}, seed {trial.seed}" for name, trial in zip(row_names(rows), trials, strict=True)]
    return {trial.key: (name, trial) for name, trial in zip(names, trials, strict=True)}
