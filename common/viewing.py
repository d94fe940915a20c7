"""Looks again at the models that a run's trials left on disk, in worker processes that train nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

import backends
from backends.base import Array, Runtime
from common.process import WorkerDied, WorkerProcess
from common.trial import runtime
from config import Trial, UserError, explain

_LIMIT_S = 300.0
"""To open a model or look at images; a framework takes seconds to import."""


@dataclass(frozen=True)
class Look:
    """What a model makes of images.

    Attributes
    ----------
    probabilities : (n, classes).
    attention : by attention layer's name (n, down, across), what each position gets; see
        :meth:`backends.base.Backend.attention`.
    inputs : (n, *input_shape), what the network was given after the trial's own features.
    """

    probabilities: Array
    attention: dict[str, Array]
    inputs: Array


@dataclass
class _Place:
    """Where models of one backend and runtime are open: a worker, and who may ask it now."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    worker: WorkerProcess | None = None


class Viewer:
    """Opens models and asks them, each once; a context manager, which several threads may use.

    There is one process for each backend and runtime, on the CPU wherever the trials were trained. No pickle is read,
    and no code of a user's own is run.

    Parameters
    ----------
    sources : what :func:`common.data.load` takes for each data set, where that is not its name.
    data_dir : the folder of data sets.
    """

    def __init__(self, sources: Mapping[str, str], data_dir: str | None) -> None:
        self._sources, self._data_dir = sources, data_dir
        self._places: dict[tuple[str, Runtime], _Place] = {}
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for place in list(self._places.values()):
            if place.worker is not None:
                place.worker.kill()  # whoever waits for it sees it die, and closes it
            with place.lock:
                if place.worker is not None:
                    place.worker.close()
                    place.worker = None

    def look(self, record: Mapping[str, Any], model: Path, images: npt.NDArray[Any]) -> Look:
        """Return what a trial's model makes of images.

        Parameters
        ----------
        record : the trial's record.
        model : its file.
        images : (n, height, width, channels) raw values, as the data set has them.

        Raises
        ------
        UserError
            Where the model cannot be opened, or the images have another shape than those it was trained on.
        """
        answer = self._ask(record, model, {"images": images.tolist()})
        attention = {name: np.array(map) for name, map in answer["attention"].items()}
        return Look(np.array(answer["probabilities"]), attention, np.array(answer["inputs"]))

    def kernel(self, record: Mapping[str, Any], model: Path) -> Array | None:
        """Return a model's first kernel, (inputs, units) or (height, width, inputs, units), of at most 64 units.

        None where the first layer has no kernel of weights over its inputs.

        Raises
        ------
        UserError
            Where the model cannot be opened.
        """
        kernel = self._ask(record, model, {})["kernel"]
        return None if kernel is None else np.array(kernel)

    def _ask(self, record: Mapping[str, Any], model: Path, what: dict[str, Any]) -> dict[str, Any]:
        trial = _trial(record)
        view = {
            "trial": json.loads(trial.canonical()),
            "model": str(model),
            "source": self._sources.get(trial.dataset, trial.dataset),
            "data_dir": self._data_dir,
            **what,
        }
        answer = self._answer((trial.backend, replace(runtime(trial), device="cpu")), {"view": view})
        if "refused" in answer:
            raise UserError(f"{trial.backend} cannot open its {trial.architecture.label}, {model}: {answer['refused']}")
        return answer

    def _answer(self, way: tuple[str, Runtime], request: dict[str, Any]) -> dict[str, Any]:
        place = self._places.setdefault(way, _Place())
        with place.lock:
            if self._closed:
                return {"refused": "the viewer has been closed"}
            try:
                if place.worker is None:
                    place.worker = WorkerProcess(*way)
                return place.worker.ask(request, _LIMIT_S)
            except WorkerDied as death:
                if place.worker is not None:
                    place.worker.close()
                    place.worker = None
                return {"refused": str(death).splitlines()[0]}


def _trial(record: Mapping[str, Any]) -> Trial:
    """Return the trial of a record, after checking that nothing in it names code to run."""
    spec = record["spec"]
    if spec["architecture"]["name"] == "custom":
        raise UserError(f"{record['architecture']}: is a network of your own: code, not run because a record names it")
    try:
        return Trial.model_validate_json(json.dumps(spec), context=backends.vocabulary())
    except ValidationError as error:
        lines = "; ".join(explain(error, Trial))
        raise UserError(f"the record {record['key']} is of another version of samenet: {lines}") from error
