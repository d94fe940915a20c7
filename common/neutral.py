"""The neutral inference table: exported models in ONNX Runtime, each in a fresh process, beside their frameworks.

What differs between a network's two columns is the framework's; what differs between networks in the column of ONNX
Runtime is the networks'. Run as ``python -m common.neutral MODEL INPUTS THREADS``, this module measures one model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from common.layout import DASH, Cell, Column, HumanFormat, lay_out

if TYPE_CHECKING:
    from common.export import Exported
    from common.smaller import Score

_ROOT = Path(__file__).resolve().parent.parent
_LIMIT_S = 120.0


@dataclass(frozen=True)
class Row:
    """One model's figures: in ONNX Runtime (as :func:`measure` prints them), and its trial's record."""

    exported: Exported
    figures: dict[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """The trial's record."""
        return self.exported.choice.record


def measured(exported: Exported) -> Row:
    """Measure a model in a process of its own, with as many threads as its framework had."""
    threads = exported.choice.record["threads"]
    with tempfile.TemporaryDirectory() as folder:
        model, inputs = Path(folder) / "network.onnx", Path(folder) / "inputs.npy"
        model.write_bytes(exported.network)
        np.save(inputs, exported.inputs)
        done = subprocess.run(
            [sys.executable, "-m", "common.neutral", str(model), str(inputs), str(threads)],
            cwd=_ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
    return Row(exported, json.loads(done.stdout))


def measure(model: Path, inputs: Path, threads: int) -> dict[str, float]:
    """Return what a model costs in this process, which has computed nothing yet.

    Returns
    -------
    What :func:`common.measure.inference` returns, and ``peak_memory_mb`` and ``memory_rise_mb``, above the process with
    ONNX Runtime imported and no model loaded.
    """
    import onnxruntime  # noqa: F401  # part of what is there before

    from common.measure import PeakMemory, inference
    from common.onnx_file import OnnxFile

    rows = np.load(inputs, allow_pickle=False)
    memory = PeakMemory()
    loaded = OnnxFile(model, threads)
    found = inference(loaded.probabilities, rows, lambda: None)
    peak = memory.peak_mb()
    return {**found, "peak_memory_mb": peak, "memory_rise_mb": peak - memory.idle_mb}


def report(models: Sequence[Exported], format: Literal["csv"] | HumanFormat, width: int | None) -> str:
    """Measure models and return their table, which is also written to their run's ``tables/neutral.csv``."""
    from common.store import write_atomically

    rows = [measured(model) for model in models]
    figures = csv(rows)
    path = models[0].choice.run.directory / "tables" / "neutral.csv"
    write_atomically(path, figures)
    return figures if format == "csv" else render(rows, format, width, "tables/neutral.csv")


def render(rows: Sequence[Row], format: HumanFormat, width: int | None, file: str) -> str:
    """Return the table of all rows, those of equal architecture and sparsity together.

    Parameters
    ----------
    file : where the reader finds columns that are too wide.
    """
    from common.environment import cpu_model
    from common.tables import percent

    rows = sorted(rows, key=_place)
    elsewhere = cpu_model()
    marks = ["†" if row.record["contended"] or row.record["cpu"] != elsewhere else "" for row in rows]
    # what is computed in 8 bits has no figures in its framework
    own = {name: [row.record[name] if row.exported.numbers == "float32" else None for row in rows]
           for name in ("latency_ms_p50", "throughput_per_s", "model_bytes")}  # fmt: skip
    scores = [row.exported.score for row in rows]
    pruned = any(row.exported.sparsity for row in rows)
    ort = {name: [row.figures[name] for row in rows] for name in rows[0].figures}
    columns = [
        _words("backend", [row.exported.choice.backend for row in rows]),
        _words("architecture", [row.record["architecture"] for row in rows]),
        _words("seed", [str(row.record["seed"]) for row in rows], keep=2),
        _words("trial", [row.record["key"][:8] for row in rows], keep=1),
        *([_words("sparsity", [f"{row.exported.sparsity:g}" for row in rows])] if pruned else []),
        *(
            [
                _words("numbers", [row.exported.numbers for row in rows]),
                _words("accuracy %", [percent(one.accuracy) if one else DASH for one in scores]),
                _words("95% interval", [one.interval_text if one else DASH for one in scores], keep=20),
            ]
            if any(scores)
            else []
        ),
        _figures("ORT latency ms", ort["latency_ms_p50"], least=True),
        _figures("own latency ms", own["latency_ms_p50"], marks, least=True),
        _figures("ORT samples/s", ort["throughput_per_s"]),
        _figures("own samples/s", own["throughput_per_s"], marks),
        _figures("ORT peak MB", ort["peak_memory_mb"], least=True, keep=3),
        _figures("rise MB", ort["memory_rise_mb"], least=True, keep=2),
        _figures("ONNX kB", [len(row.exported.network) / 1e3 for row in rows], least=True),
        _figures("own kB", [size and size / 1e3 for size in own["model_bytes"]], least=True, keep=4),
    ]
    threads = sorted({row.record["threads"] for row in rows})
    head = [f"{rows[0].record['dataset']} · threads {', '.join(map(str, threads))} · cpu"]
    head[0] += " · float32" * (not any(scores))
    return lay_out(columns, head, _notes(any(marks), any(scores), pruned), format, width, file)


def _place(row: Row) -> tuple[Any, ...]:
    from common.summary import natural

    record = row.record
    names = (record["architecture"], record["backend"], record["engine"] or "", row.exported.numbers)
    architecture, backend, engine, numbers = map(natural, names)
    return architecture, row.exported.sparsity, backend, engine, record["seed"], record["key"], numbers


def csv(rows: Sequence[Row]) -> str:
    """Return all figures, a line a model: those of ONNX Runtime begin with ``ort_``, the framework's with ``own_``."""
    import pandas as pd

    own = ("latency_ms_p50", "latency_ms_p95", "throughput_per_s")
    lines = [
        {
            **{name: row.record[name] for name in ("key", "backend", "engine", "architecture", "seed", "threads")},
            **{f"ort_{name}": value for name, value in row.figures.items()},
            **{f"own_{name}": row.record[name] if row.exported.numbers == "float32" else None for name in own},
            "onnx_bytes": len(row.exported.network),
            "own_bytes": row.record["model_bytes"] if row.exported.numbers == "float32" else None,
            "numbers": row.exported.numbers,
            "sparsity": row.exported.sparsity,
            **_scored(row.exported.score),
            "parameters": row.record["parameters"],
            "largest_difference": row.exported.difference,
        }
        for row in rows
    ]
    return pd.DataFrame(lines).to_csv(index=False)


def _scored(score: Score | None) -> dict[str, float]:
    if score is None:
        return {}
    low, high = score.interval
    return {"val_accuracy": score.validation, "test_accuracy": score.accuracy,
            "test_accuracy_low": low, "test_accuracy_high": high}  # fmt: skip


def _notes(marked: bool, scored: bool, pruned: bool) -> list[str]:
    notes = [
        "ORT: ONNX Runtime, measured now, one model after the other, each in a fresh process with as many threads as "
        "its framework had; the same network, from prepared inputs to class probabilities, as the framework is measured.",
        "own: the framework's figures, from the trial's record.",
        "latency: one sample, the median of up to 200 calls. samples/s: batches of 1,024, the best of at least 0.2 s.",
        "ORT peak MB: of the whole process, Python and ONNX Runtime included; rise: above that process before it loads "
        "the model.",
        "kB: the ONNX file without preprocessing, and the file that the framework saves.",
    ]
    if scored:
        notes += ["int8: weights and activations of dense layers and convolutions in 8 bits, calibrated on training images. "
                  "accuracy: of the exported file on all test images, its interval that of this one network over them "
                  "(Wilson)."]  # fmt: skip
    if pruned:
        notes += ["sparsity: share of the kernels' weights that are zero; the ONNX file holds the others "
                  "and their places where that takes fewer bytes."]  # fmt: skip
    return notes + ["†: measured on another processor, or beside other trials; not to be compared."] * marked


def _words(header: str, texts: Sequence[str], keep: int = 100) -> Column:
    return Column(header, [Cell(text) for text in texts], keep, right=False)


def _figures(
    header: str, values: Sequence[float | None], marks: Sequence[str] = (), *, least: bool = False, keep: int = 100
) -> Column:
    """Return a column whose best figure is marked, among those that can be compared."""
    from common.tables import number

    marks = marks or [""] * len(values)
    fair = [value for value, mark in zip(values, marks, strict=True) if value is not None and not mark]
    best = number(min(fair) if least else max(fair)) if fair else None  # equal as shown is equal
    texts = [DASH if value is None else number(value) for value in values]
    cells = [Cell(text, best=not mark and text == best, remark=mark) for text, mark in zip(texts, marks, strict=True)]
    return Column(header, cells, keep)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
