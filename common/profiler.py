"""Networks built in processes that train nothing, for what their backends say of their layers."""

from __future__ import annotations

import json
from typing import Any, Self

from backends.base import Runtime
from common.process import START_LIMIT_S, WorkerDied, WorkerProcess
from common.trial import runtime
from config import Trial, UserError


class Profiler:
    """Builds networks in processes that train nothing, one for each backend and runtime; a context manager."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, Runtime], WorkerProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def layers(self, trial: Trial, input_shape: tuple[int, ...], classes: int) -> list[dict[str, Any]]:
        """Return a network's layers as its backend counts them.

        Raises
        ------
        UserError
            Where the backend cannot build the network.
        """
        way = trial.backend, runtime(trial)
        if way not in self._workers:
            self._workers[way] = WorkerProcess(*way)
        request = {"trial": json.loads(trial.canonical()), "input_shape": list(input_shape), "classes": classes}
        try:
            answer = self._workers[way].ask({"profile": request}, START_LIMIT_S)
        except WorkerDied as death:
            raise UserError(f"{trial.backend} could not build {trial.architecture.label}: {death}") from death
        if "refused" in answer:
            raise UserError(f"{trial.backend} could not build {trial.architecture.label}: {answer['refused']}")
        layers: list[dict[str, Any]] = answer["layers"]
        return layers
