"""samenet's training loops against what a user would write: ``python -m benchmarks.loops``; ``--help`` says more."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import CONTENDERS, Case
from benchmarks.interleaved import Contender, ratio, rounds, serve
from common import data
from common.environment import describe
from common.layout import Cell, Column, lay_out
from common.store import to_json, write_atomically

CASES: dict[tuple[str, int], dict[str, list[str]]] = {
    ("ffn:128-64", 64): {
        "samenet, PyTorch": ["matrix products alone", "PyTorch, DataLoader", "Lightning", "skorch"],
        "samenet, Keras on TensorFlow": ["Keras on TensorFlow, fit"],
        "samenet, Keras on JAX": ["Keras on JAX, fit"],
        "samenet, scikit-learn": ["MLPClassifier.fit, float32", "MLPClassifier.fit, float64"],
    },
    ("ffn:512-256", 64): {
        "samenet, PyTorch": ["matrix products alone", "PyTorch, DataLoader", "Lightning", "skorch"],
        "samenet, Keras on TensorFlow": ["Keras on TensorFlow, fit"],
        "samenet, Keras on JAX": ["Keras on JAX, fit"],
        "samenet, scikit-learn": ["MLPClassifier.fit, float32", "MLPClassifier.fit, float64"],
    },
    ("cnn", 64): {"samenet, PyTorch": ["samenet, PyTorch, bfloat16", "PyTorch, DataLoader", "the seeds' loop"]},
    ("resnet", 64): {"samenet, PyTorch": ["samenet, PyTorch, bfloat16", "PyTorch, DataLoader", "the seeds' loop"]},
}
"""By architecture and batch size: each of samenet's loops, and what it is set against."""


def main() -> int:
    """Print a table a case, and write all figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loops", description=__doc__)
    parser.add_argument("cases", nargs="*", default=[name for name, _ in CASES], help="default: all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=2, help="of each contender in each round")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rows", type=int, default=60_000, help="of the training images")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/loops.json"))
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    for (architecture, batch_size), against in CASES.items():
        if architecture not in arguments.cases:
            continue
        case = {"architecture": architecture, "batch_size": batch_size, "threads": arguments.threads,
                "rows": arguments.rows}  # fmt: skip
        names = [name for own, others in against.items() for name in (own, *others)]
        contenders = [_contender(name, case) for name in names]
        seconds, missing = rounds(contenders, arguments.rounds, arguments.epochs)
        print(_table(case, against, seconds, missing, arguments.rounds))
        found.append({**case, "seconds_an_epoch": seconds, "missing": missing})
    environment = describe(("torch", "tensorflow", "keras", "jax", "scikit-learn", "pytorch-lightning", "skorch"))
    write_atomically(arguments.output, to_json({"environment": environment, "cases": found}, indent=1))
    print(f"all figures: {arguments.output}")
    return 0


def _contender(name: str, case: dict[str, Any]) -> Contender:
    threads = str(case["threads"])
    variables = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    engine = next((engine for engine in ("TensorFlow", "JAX") if engine in name), "")
    variables |= {"KERAS_BACKEND": engine.lower(), "NPROC": threads} if engine else {}
    return Contender("benchmarks.loops", name, case, {**variables, "TF_CPP_MIN_LOG_LEVEL": "3"})


def _table(
    case: dict[str, Any],
    against: dict[str, list[str]],
    seconds: dict[str, list[float]],
    missing: dict[str, str],
    count: int,
) -> str:
    names, medians, ratios = [], [], []
    for own, others in against.items():
        for name in (own, *others):
            if name not in seconds or own not in seconds:
                continue
            names.append(name if name == own else f"  {name}")
            medians.append(f"{np.median(seconds[name]):.3f}")
            times = ratio(seconds[name], seconds[own])
            ratios.append("" if name == own else f"{times.value:.2f} [{times.low:.2f}, {times.high:.2f}]")
    columns = [
        Column("loop", [Cell(text) for text in names], right=False),
        Column("s an epoch", [Cell(text) for text in medians]),
        Column("times samenet's", [Cell(text) for text in ratios]),
    ]
    head = [
        f"{case['architecture']} · batch {case['batch_size']} · {case['rows']:,} images · {case['threads']} threads"
    ]
    notes = [
        f"median of {count} rounds, each contender once a round in turns; ratios paired by round, with the interval of "
        "their median.",
        *(f"not there: {text}" for text in missing.values()),
    ]
    return lay_out(columns, head, notes, "text", None, "")


def _serve(name: str, fields: dict[str, Any], descriptor: int) -> None:
    dataset = data.load("auto", None)
    rows = fields.pop("rows")
    serve(CONTENDERS[name](Case(**fields, images=dataset.images[:rows], labels=dataset.labels[:rows])), descriptor)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in CONTENDERS:
        _serve(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
    else:
        raise SystemExit(main())
