"""What a trained network answers in its own framework, written down for those who compute it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Backend
from common.data import Dataset
from common.drawn import ink_box
from common.inputs import load_inputs
from common.trial import network_of
from config import Trial, UserError

_DRAWN = ("mnist", "digits")
"""Data sets of handwritten digits, whose images are as large as their ink."""


def restored(trial: Trial, backend: Backend, model: Path, input_shape: tuple[int, ...], classes: int) -> None:
    """Build a trial's network anew, with the weights that its training ended with."""
    backend.build(network_of(trial, input_shape, classes))
    backend.load(model)


def write_answers(
    trial: Trial, backend: Backend, dataset: Dataset, model: Path, rows: int, path: Path
) -> dict[str, Any]:
    """Write the first test images, what the network sees of them and what it answers, as arrays to `path`.

    These are ``images``, ``inputs``, ``index`` (into the pooled data), and ``logits`` or, where the framework has none,
    ``probabilities``; and ``preprocessing/NAME``, what made inputs of the images.

    Parameters
    ----------
    model : the file that the trial saved.
    rows : how many images, at most.

    Returns
    -------
    What the data set says: ``image_shape``, ``input_shape``, ``classes`` (names), ``max_value`` and ``ink_box`` (None
    where the images are not of one thing drawn).

    Raises
    ------
    UserError
        Where the data are not those of the training.
    """
    if dataset.sha256 != trial.data_sha256:
        raise UserError(
            f"dataset {dataset.name}: its SHA-256 is {dataset.sha256[:8]}, that of the training {trial.data_sha256[:8]}"
        )
    data = load_inputs(trial, dataset)
    index, inputs = data.indices.test[:rows], data.inputs["test"][:rows]
    restored(trial, backend, model, inputs.shape[1:], dataset.n_classes)
    logits = backend.predict_logits(inputs)
    answers = {"probabilities": backend.predict_proba(inputs)} if logits is None else {"logits": logits}
    steps = {f"preprocessing/{name}": array for name, array in data.pipeline.arrays().items()}
    arrays: dict[str, Any] = {"images": dataset.images[index], "inputs": inputs, "index": index, **answers, **steps}
    np.savez(path, **arrays)
    return {
        "image_shape": dataset.image_shape,
        "input_shape": inputs.shape[1:],
        "classes": dataset.class_names,
        "max_value": dataset.max_value,
        "ink_box": ink_box(dataset.images[..., 0]) if dataset.name in _DRAWN else None,
    }
