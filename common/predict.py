"""``compare.py predict``: pictures classified by an exported file alone; no framework is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.layout import DASH, Cell, Column, lay_out
from common.onnx_file import RAW, OnnxFile
from common.pictures import Wanted, files, prepared, read
from config import UserError


@dataclass(frozen=True)
class Prediction:
    """One image: its name, and the probability of each class; or, None, what is wrong with it."""

    name: str
    probabilities: npt.NDArray[np.float32] | None
    error: str | None = None


@dataclass(frozen=True)
class Predictions:
    """What a model says of images, and what it says of itself."""

    model: OnnxFile
    images: list[Prediction]

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return [str(name) for name in self.model.said("classes")]

    @property
    def errors(self) -> list[str]:
        """A line for each file that could not be classified."""
        return [image.error for image in self.images if image.error is not None]

    def table(self, width: int | None) -> str:
        """Return the images that were classified as text: the likeliest class and the next, with probabilities."""
        good = [image for image in self.images if image.probabilities is not None]
        if not good:
            return ""
        found = np.array([image.probabilities for image in good])
        order = np.argsort(-found, axis=1, kind="stable")[:, :2]
        columns = [Column("image", [Cell(image.name) for image in good], right=False)]
        for place, (header, beside) in enumerate((("class", "probability"), ("next", "its probability"))):
            shares = found[np.arange(len(good)), order[:, place]]
            columns.append(Column(header, [Cell(self.classes[at]) for at in order[:, place]], right=False))
            columns.append(Column(beside, [Cell(f"{share:.4f}") for share in shares]))
        return lay_out(columns, [self._about()], [], "text", width, "--json")

    def _about(self) -> str:
        said, accuracy = self.model.said, self.model.said("test_accuracy")
        shown = DASH if accuracy is None else f"{100 * accuracy:.2f}%"
        framework = "/".join(filter(None, [said("backend"), said("engine")]))
        return f"{said('architecture')} · {framework} · {said('dataset')} · test accuracy {shown}"

    def document(self) -> dict[str, Any]:
        """Return everything for JSON."""
        about = ("architecture", "backend", "engine", "dataset", "test_accuracy", "trial")
        return {
            "model": {name: self.model.said(name) for name in about},
            "images": [self._entry(image) for image in self.images],
        }

    def _entry(self, image: Prediction) -> dict[str, Any]:
        if image.probabilities is None:
            return {"file": image.name, "error": image.error}
        shares = dict(zip(self.classes, image.probabilities.tolist(), strict=True))
        best = max(shares, key=lambda name: shares[name])
        return {"file": image.name, "class": best, "probability": shares[best], "probabilities": shares}


def predict(model: Path, names: Sequence[Path]) -> Predictions:
    """Classify files and folders of images; what is wrong with one of them keeps no other from being classified.

    Raises
    ------
    UserError
        Where the model cannot be used, or there is no file at all.
    """
    loaded = OnnxFile(model)
    if loaded.input_name != RAW:
        raise UserError(f"{model}: was exported without its preprocessing; export it again with it")
    drawn = (loaded.said(part) for part in ("max_value", "ink_box", "ink_center"))
    wanted = Wanted(tuple(loaded.said("image_shape")), *drawn)
    paths = files(names)
    if not paths:
        raise UserError(f"{', '.join(map(str, names))}: there are no files in it")
    dtype = np.uint8 if loaded.takes_bytes else np.float32
    images: list[Prediction] = []
    for path in paths:
        try:
            found = read(path, wanted)
        except UserError as error:
            images.append(Prediction(str(path), None, str(error)))
            continue
        for name, image in found.items():
            try:
                values = prepared(image, wanted)
            except UserError as error:
                images.append(Prediction(name, None, f"{name}: {str(error).removeprefix('image: ')}"))
                continue
            values = np.rint(values) if dtype == np.uint8 else values
            images.append(Prediction(name, loaded.probabilities(values.astype(dtype)[np.newaxis])[0]))
    return Predictions(loaded, images)
