"""A model that a trial left on disk, opened again in a worker's process: what it answers, and what it looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.base import Array, Backend
from common.data import Dataset
from common.features import FeaturePipeline
from common.inputs import cut, pipeline_of
from common.trial import network_of
from config import Trial, UserError, number_format

MOST_UNITS = 64
"""So many units of a first layer are shown at most."""


@dataclass(frozen=True)
class Opened:
    """A trained network, and what makes its inputs of raw images.

    Attributes
    ----------
    pipeline : fitted on the rows that the trial trained on.
    """

    trial: Trial
    backend: Backend
    pipeline: FeaturePipeline
    dataset: Dataset
    input_shape: tuple[int, ...]

    def look(self, images: list[Any]) -> dict[str, Any]:
        """Return what :meth:`common.viewing.Viewer.look` gives, as lists."""
        raw: npt.NDArray[Any] = np.array(images, self.dataset.images.dtype)
        inputs = self.pipeline.transform(raw).astype(number_format(self.trial.precision), copy=False)
        return {
            "probabilities": self.backend.predict_proba(inputs).tolist(),
            "attention": {name: map.tolist() for name, map in self.backend.attention(inputs).items()},
            "inputs": inputs.tolist(),
        }

    def kernel(self) -> list[Any] | None:
        """Return the first layer's kernel in the canonical layout, of its first units; None where it has none."""
        kernels = (array for name, array in self.backend.get_weights().items() if name.rpartition("/")[2] == "kernel")
        first: Array | None = next(kernels, None)
        # what a layer without one (fixed filters, single weights) leaves to the next is no kernel over the inputs
        if first is None or first.shape[:-1] not in (
            (math.prod(self.input_shape),),
            (*first.shape[:2], self.input_shape[-1]),
        ):
            return None
        listed: list[Any] = first[..., :MOST_UNITS].tolist()
        return listed


def restore(trial: Trial, backend: Backend, model: Path, input_shape: tuple[int, ...], classes: int) -> None:
    """Build a trial's network anew, with the weights that its training ended with."""
    backend.build(network_of(trial, input_shape, classes))
    backend.load(model)


def open_model(trial: Trial, backend: Backend, dataset: Dataset, model: Path) -> Opened:
    """Build a trial's network in `backend`, and give it the weights of its file.

    Raises
    ------
    UserError
        Where the data are not those that the trial had.
    """
    if dataset.sha256 != trial.data_sha256:
        raise UserError(f"the data set {dataset.name} found here is not the one that it was trained on")
    rows = cut(trial, dataset).train
    pipeline = pipeline_of(trial, dataset).fit(dataset.images[rows])
    shape = pipeline.output_shape(dataset.image_shape, len(rows))
    restore(trial, backend, model, shape, dataset.n_classes)
    return Opened(trial, backend, pipeline, dataset, shape)
