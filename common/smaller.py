"""Smaller models: an exported network's weights and sums in 8 bits, how well it still classifies, and which file suffices."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.data import Dataset
from common.inputs import TrialData
from common.layout import DASH, Cell, Column, HumanFormat, lay_out
from common.onnx_file import RAW, OnnxFile
from common.seeding import generator
from common.tables import number, percent

if TYPE_CHECKING:
    from common.export import Exported

LEVELS = (0.98, 0.99, 0.995)
"""Accuracies for which the smallest file is named."""
_CALIBRATION = 1000
"""Training images from which the range of each activation is taken."""
_BATCH = 500
_QUANTIZED = ["Conv", "Gemm", "MatMul"]
"""What is computed in 8 bits; the rest of a network is small, and suffers most."""


@dataclass(frozen=True)
class Score:
    """How well a file classifies.

    Attributes
    ----------
    validation : share of the validation images that are right, by which a file may be chosen.
    right, n : of the test images.
    """

    validation: float
    right: int
    n: int

    @property
    def accuracy(self) -> float:
        """Share of the test images that are right."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy of this one network, over test images (Wilson, 1927)."""
        from scipy.stats import binomtest

        found = binomtest(self.right, self.n).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    @property
    def interval_text(self) -> str:
        """The interval as tables show it, in percent."""
        low, high = self.interval
        return f"[{percent(low)}, {percent(high)}]"


def int8(network: Path, rows: npt.NDArray[Any], seed: int, folder: Path) -> Path:
    """Write a network in 8 bits: weights by output channel, activations by the range that they have on training data.

    Parameters
    ----------
    network : as a backend writes it, in float32.
    rows : (rows, *input_shape), training inputs.
    seed : of the choice among them.
    folder : where files may be written.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from common.onnx_graph import IR

    chosen = generator("calibration", seed).permutation(len(rows))[:_CALIBRATION]
    batches = np.array_split(rows[np.sort(chosen)].astype(np.float32), max(1, len(chosen) // 100))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self._left = iter([{name: batch} for batch in batches])

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            return next(self._left, None)

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of what is done here: batch normalization is folded before
    try:
        readable, prepared, result = (folder / f"{name}.onnx" for name in ("readable", "prepared", "int8"))
        model = onnx.load(network)
        model.ir_version = IR  # packages write newer ones than ONNX Runtime reads
        onnx.save(model, readable)
        quant_pre_process(readable, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            result,
            Reader(model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logger.setLevel(level)
    return result


def score(path: Path, data: TrialData, dataset: Dataset) -> Score:
    """Return how well an exported file classifies validation and test images, by ONNX Runtime alone."""
    model = OnnxFile(path)

    def right(part: str, index: npt.NDArray[np.int64]) -> int:
        rows = dataset.images[index] if model.input_name == RAW else data.inputs[part].astype(np.float32)
        rows = rows if rows.dtype == np.uint8 else rows.astype(np.float32)
        starts = range(0, len(rows), _BATCH)
        found = np.concatenate([model.probabilities(rows[at : at + _BATCH]) for at in starts]).argmax(axis=1)
        return int((found == data.labels[part]).sum())

    validation = right("validation", data.indices.validation) / len(data.indices.validation)
    return Score(validation, right("test", data.indices.test), len(data.indices.test))


def render(models: Sequence[Exported], format: HumanFormat, width: int | None) -> str:
    """Return the table of the smallest file at each level: chosen by validation images, scored on test images.

    Parameters
    ----------
    models : all of them scored.
    """
    rows = []
    for level in LEVELS:
        model = smallest(models, level)
        texts = ["none", *[DASH] * 4]
        if model is not None and model.score is not None:
            found = model.score
            pruned = f", {100 * model.sparsity:g}% pruned" if model.sparsity else ""
            texts = [f"{model.choice.backend} {model.choice.record['architecture']} {model.numbers}{pruned}",
                     number(len(model.network) / 1000), percent(found.validation), percent(found.accuracy),
                     found.interval_text]  # fmt: skip
        rows.append([f"{100 * level:g}%", *texts])
    headers = ["at least", "smallest file", "kB", "validation %", "test %", "95% interval"]
    columns = [
        Column(header, [Cell(row[place]) for row in rows], right=header != "smallest file")
        for place, header in enumerate(headers)
    ]
    best = max(model.score.validation for model in models if model.score is not None)
    notes = ["chosen by validation accuracy and bytes alone, then scored on the test images. kB: the ONNX file without "
             "preprocessing. Interval: of this one network, over test images (Wilson). "
             f"The most of any file: {percent(best)}% of the validation images right."]  # fmt: skip
    return lay_out(columns, [], notes, format, width, "tables/neutral.csv")


def smallest(models: Sequence[Exported], level: float) -> Exported | None:
    """Return the model of fewest bytes among those whose validation accuracy is at least `level`."""
    enough = [model for model in models if model.score is not None and model.score.validation >= level]
    return min(enough, key=lambda model: len(model.network), default=None)
