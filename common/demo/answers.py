"""Drawings put before the models of a run: prepared as their data are, and answered by all at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from common.data import Dataset
from common.demo.chosen import Chosen
from common.drawn import ink_box, ink_center, prepare
from common.store import Run
from common.viewing import Viewer
from config import UserError

TOP = 3
"""So many classes are named in an answer."""


class Answers:
    """The models of a run, open.

    Raises
    ------
    UserError
        Where none of them can be opened; of one that cannot among others it is said on standard error.
    """

    def __init__(self, run: Run, models: Sequence[Chosen], dataset: Dataset, viewer: Viewer) -> None:
        self._run, self._dataset, self._viewer = run, dataset, viewer
        digits = dataset.images[..., 0]
        self._frame = digits.shape[1], ink_box(digits), ink_center(digits)
        self._threads = ThreadPoolExecutor(len(models))
        blank = np.zeros_like(dataset.images[:1])
        opened = list(self._threads.map(lambda model: self._asked(model, blank), models))
        self._models = [model for model, answer in zip(models, opened, strict=True) if "error" not in answer]
        problems = [answer["error"] for answer in opened if "error" in answer]
        if not self._models:
            raise UserError("\n".join(problems))
        for problem in problems:
            print(f"compare.py: warning: left out: {problem}", file=sys.stderr)

    def about(self) -> dict[str, Any]:
        """Return what the page says of the run and its models."""
        return {
            "run": self._run.name,
            "dataset": self._dataset.name,
            "top": TOP,
            "side": self._dataset.image_shape[0],
            "models": [
                {
                    "framework": model.framework,
                    "architecture": model.record["architecture"],
                    "parameters": model.record["parameters"],
                    "val_accuracy": model.val_accuracy,
                    "seeds": model.seeds,
                    "attends": model.attends,
                }
                for model in self._models
            ],
        }

    def to(self, drawing: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Return every model's answer to a drawing of any size, and what they were shown.

        Raises
        ------
        UserError
            Where there is no ink in it.
        """
        most = self._dataset.max_value
        image = np.rint(prepare(drawing, *self._frame) / 255 * most).astype(self._dataset.images.dtype)
        shown = image[np.newaxis, :, :, np.newaxis]
        return {
            "seen": np.rint(image / most * 255).astype(int).tolist(),
            "answers": list(self._threads.map(lambda model: self._asked(model, shown), self._models)),
        }

    def _asked(self, model: Chosen, images: npt.NDArray[Any]) -> dict[str, Any]:
        try:
            look = self._viewer.look(model.record, model.path, images)
        except UserError as error:
            return {"error": str(error)}
        probabilities = look.probabilities[0]
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        return {
            "top": [{"label": self._dataset.class_names[at], "probability": float(probabilities[at])} for at in best],
            "attention": [
                {"layer": _layer(name), "shares": map[0].tolist()} for name, map in look.attention.items()
            ] if model.attends else [],
        }  # fmt: skip


def _layer(name: str) -> str:
    """Return an attention layer's name as the page has it."""
    block = next((part for part in name.split("/") if part.startswith("block_")), None)
    return "pooling" if block is None else f"block {int(block.removeprefix('block_')) + 1}"
