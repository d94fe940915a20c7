"""Trials as MLflow shows them: an experiment a study, a run a trial, in a SQLite store with its artefacts beside it."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read at import: what is trained here is nobody else's business

from mlflow.entities import ExperimentTag, Metric, Param, RunStatus, RunTag, ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils import mlflow_tags

from common.store import Run
from common.tracking import Finished
from config import UserError

NAMES = {"val_log_loss": "val_loss", "test_log_loss": "test_loss"}
"""What MLflow's own loggers call figures that records name otherwise."""

_BATCH = 1000
_LONGEST = 5000


class MLflow:
    """The store ``mlflow.db`` in a run's directory.

    Raises
    ------
    UserError
        Where the store that is there cannot be opened.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        path = run.directory.resolve() / "mlflow.db"
        for name in ("mlflow", "alembic"):  # which tell of every step in making the store
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._artefacts = path.with_name("mlflow-artifacts")
        if not path.exists():
            unfinished = path.with_suffix(".part")  # so that a kill while it is made leaves none that is half made
            unfinished.unlink(missing_ok=True)
            _store(unfinished, self._artefacts).engine.dispose()
            os.replace(unfinished, path)
        try:
            self._store = _store(path, self._artefacts)
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"track: {path} cannot be opened ({reason}); move it away, and it is made anew from the records"
            ) from error
        self._experiment = self._experiment_of(run)

    def track(self, trial: Finished) -> None:
        """Write a trial's run, which ends last: one that has not ended was cut short, and is written again."""
        mine = f"tags.`samenet.key` = '{trial.key}'"
        for found in self._store.search_runs([self._experiment], mine, ViewType.ACTIVE_ONLY):
            if found.info.status != "RUNNING" and found.data.tags["samenet.record"] == trial.digest:
                return
            self._store.delete_run(found.info.run_id)
        tags = [RunTag(name, value) for name, value in _tags(trial).items()]
        run = self._store.create_run(self._experiment, "", _ms(trial.began), tags, trial.name)
        params = [Param(name, str(value)) for name, value in trial.settings.items()]
        self._store.log_batch(run.info.run_id, [], params, [])
        metrics = _metrics(trial)
        for first in range(0, len(metrics), _BATCH):
            self._store.log_batch(run.info.run_id, metrics[first : first + _BATCH], [], [])
        self._keep(trial, self._artefacts / run.info.run_id / "artifacts")
        status = RunStatus.FINISHED if trial.ok else RunStatus.FAILED
        self._store.update_run_info(run.info.run_id, status, _ms(trial.ended), trial.name)

    def close(self) -> None:
        """Close the store."""
        self._store.engine.dispose()

    def _experiment_of(self, run: Run) -> str:
        study = run.study()
        if (found := self._store.get_experiment_by_name(study["name"])) is not None:
            return str(found.experiment_id)
        tags = [
            ExperimentTag(mlflow_tags.MLFLOW_RUN_NOTE, study["question"]),
            ExperimentTag("samenet.run", run.name),
        ]
        return str(self._store.create_experiment(study["name"], self._artefacts.as_uri(), tags))

    def _keep(self, trial: Finished, folder: Path) -> None:
        folder.mkdir(parents=True)
        artefacts = self._run.artefacts(trial.key)
        shutil.copyfile(artefacts.with_suffix(".json"), folder / "record.json")
        if trial.history:
            shutil.copyfile(artefacts / "history.json", folder / "history.json")


def _store(path: Path, artefacts: Path) -> Any:
    return SqlAlchemyStore(f"sqlite:///{path}", artefacts.as_uri())


def _tags(trial: Finished) -> dict[str, str]:
    record = trial.record
    tags = {
        mlflow_tags.MLFLOW_SOURCE_NAME: "compare.py",
        mlflow_tags.MLFLOW_SOURCE_TYPE: "LOCAL",
        "samenet.key": trial.key,
        "samenet.record": trial.digest,
        "samenet.status": record["status"],
        "samenet.contended": str(record["contended"]),
    }
    if record["commit"] is not None:
        tags[mlflow_tags.MLFLOW_GIT_COMMIT] = record["commit"]
    if not trial.ok:
        tags[mlflow_tags.MLFLOW_RUN_NOTE] = str(record["error"])[-_LONGEST:]
    return tags


def _metrics(trial: Finished) -> list[Metric]:
    course = [Metric(NAMES.get(name, name), value, _ms(when), epoch) for name, epoch, when, value in trial.course()]
    step = trial.record["epochs"] or 0
    return course + [
        Metric(NAMES.get(name, name), value, _ms(trial.ended), step) for name, value in trial.figures().items()
    ]


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
