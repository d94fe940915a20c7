"""What a trained network answers in its own framework, written down for those who compute it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Backend
from common.data import Dataset
from common.drawn import ink_box, ink_center
from common.inputs import load_inputs
from common.opened import restore
from config import Trial, UserError

_DRAWN = ("mnist", "digits")
"""Data sets of handwritten digits, whose images are as large as their ink."""


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
    What the data set says: ``image_shape``, ``input_shape``, ``classes`` (names), ``max_value``, ``ink_box`` and
    ``ink_center`` (None where the images are not of digits drawn).

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
    restore(trial, backend, model, inputs.shape[1:], dataset.n_classes)
    logits = backend.predict_logits(inputs)
    answers = {"probabilities": backend.predict_proba(inputs)} if logits is None else {"logits": logits}
    steps = {f"preprocessing/{name}": array for name, array in data.pipeline.arrays().items()}
    arrays: dict[str, Any] = {"images": dataset.images[index], "inputs": inputs, "index": index, **answers, **steps}
    np.savez(path, **arrays)
    drawn = dataset.images[..., 0] if dataset.name in _DRAWN else None
    return {
        "image_shape": dataset.image_shape,
        "input_shape": inputs.shape[1:],
        "classes": dataset.class_names,
        "max_value": dataset.max_value,
        "ink_box": None if drawn is None else ink_box(drawn),
        "ink_center": None if drawn is None else ink_center(drawn),
    }
