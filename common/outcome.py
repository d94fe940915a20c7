"""What a trained network is worth: its scores on the test data, its size, and its files."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Array, Backend, Weights, total_flops
from common.course import scores
from common.measure import fenced
from common.store import cannot_write

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


class Unwritable(Exception):
    """The folder of results takes nothing more: the trial is not to blame, and those after it would fare no better."""


def evaluated(backend: Backend, initial: Weights, inputs: Array, labels: Array) -> tuple[dict[str, Any], Array]:
    """Return what the record says of the test data, and the class probabilities, (rows, classes).

    Parameters
    ----------
    initial : the weights that training began with.
    inputs, labels : of the test rows.
    """
    with fenced(backend.synchronise) as clock:
        probabilities = backend.predict_proba(inputs)
        found: dict[str, Any] = {f"test_{name}": value for name, value in scores(labels, probabilities).items()}
    found["evaluate_s"] = clock.seconds
    found["untrained"], found["untrained_parameters"] = _untrained(backend, initial)
    return found, probabilities


def _untrained(backend: Backend, initial: Weights) -> tuple[list[str], int]:
    """Return the trainable arrays that training left exactly as they were, and their parameters: no gradient came."""
    final = backend.get_weights()
    trainable = [spec for spec in backend.weight_specs() if spec.trainable]
    same = [
        spec
        for spec in trainable
        if np.array_equal(final[spec.name], initial[spec.name].astype(final[spec.name].dtype))
    ]
    return [spec.name for spec in same], sum(math.prod(spec.shape) for spec in same)


def kept(
    backend: Backend, directory: Path, history: dict[str, list[Any]], tested: tuple[Array, Array, Array] | None
) -> dict[str, Any]:
    """Write model, history and predictions to `directory`; return what the record says of the network's size.

    Parameters
    ----------
    tested : the test rows in the pooled data set, their labels and class probabilities; None in a search.

    Raises
    ------
    Unwritable
        Where the disk is full, read-only or not ours.
    """
    with fenced(backend.synchronise) as clock, _writing(directory):
        layers = backend.layers()
        found = {
            "parameters": sum(math.prod(spec.shape) for spec in backend.weight_specs() if spec.trainable) or None,
            "flops_per_sample": total_flops([layer.flops for layer in layers]),
            "model_bytes": backend.save(directory / "model").stat().st_size,
        }
        (directory / "history.json").write_text(json.dumps(history), encoding="utf-8")
        if tested is not None:
            index, labels, probabilities = tested
            np.savez_compressed(
                directory / "predictions.npz",
                index=index.astype(np.int32),
                label=labels.astype(np.int16),
                predicted=probabilities.argmax(axis=1).astype(np.int16),
            )
    return {**found, "save_s": clock.seconds}


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Tell a disk's fault, which each framework's writer raises in its own way, from a trial's."""
    try:
        yield
    except Exception as error:
        for number in _DISK:
            reason = os.strerror(number)
            if getattr(error, "errno", None) == number or reason in str(error):
                fault = OSError(number, reason, str(directory))
                raise Unwritable(str(cannot_write(fault, directory))) from error
        raise
