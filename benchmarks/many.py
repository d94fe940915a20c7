"""Feed-forward networks trained one by one and as one program (``--batch-trials``): ``python -m benchmarks.many``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Runtime
from benchmarks.contenders import Case, Train, built
from benchmarks.interleaved import Contender, ratio, rounds, serve
from common import data
from common.environment import describe
from common.layout import Cell, Column, lay_out
from common.store import to_json, write_atomically

CASES = [("ffn:64", 16), ("ffn:64", 4), ("ffn:128-64", 16), ("ffn:512-256", 16)]
"""Architectures, and how many seeds of each."""

ALONE, TOGETHER = "one by one", "as one program"


def networks(case: Case, count: int, together: bool, device: str) -> Train:
    """Return what trains `count` seeds of a network for so many epochs, through samenet's PyTorch backend."""
    from common.initial import epochs, initial_weights

    backend, network = built(case, "torch", Runtime(None, device, "float32", case.threads))
    members = [replace(network, seed=seed) for seed in range(count)]
    data = backend.prepare(case.inputs(), case.labels)
    weights = [initial_weights(backend.weight_specs(), network, seed) for seed in range(count)]
    plans = [
        list(epochs(network.training.model_copy(update={"epochs": 1}), len(case.labels), seed)) for seed in range(count)
    ]

    def train(amount: int) -> None:
        if together:
            backend.fit_many(
                members, weights, data, zip(*(plan * amount for plan in plans), strict=True), lambda *_: False
            )
        else:
            for plan, initial in zip(plans, weights, strict=True):
                backend.set_weights(initial)
                backend.fit(data, plan * amount, lambda _: False)
        backend.synchronise()

    return train


def main() -> int:
    """Print a table, and write all figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rows", type=int, default=20_000, help="of the training images")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/many.json"))
    arguments = parser.parse_args()
    fields = {name: getattr(arguments, name) for name in ("batch_size", "rows", "threads", "device")}
    found = []
    for architecture, count in CASES:
        case = {"architecture": architecture, "count": count, **fields}
        environment = {"OMP_NUM_THREADS": str(arguments.threads)}
        contenders = [Contender("benchmarks.many", name, case, environment) for name in (ALONE, TOGETHER)]
        found.append({**case, "seconds": rounds(contenders, arguments.rounds, 1)[0]})
    print(_table(found, arguments.rounds))
    write_atomically(arguments.output, to_json({"environment": describe(("torch",)), "cases": found}, indent=1))
    print(f"all figures: {arguments.output}")
    return 0


def _table(found: list[dict[str, Any]], count: int) -> str:
    times = [ratio(case["seconds"][ALONE], case["seconds"][TOGETHER]) for case in found]
    columns = [
        Column("architecture", [Cell(case["architecture"]) for case in found], right=False),
        Column("networks", [Cell(str(case["count"])) for case in found]),
        *(
            Column(f"{name}, s", [Cell(f"{np.median(case['seconds'][name]):.3f}") for case in found])
            for name in (ALONE, TOGETHER)
        ),
        Column("times as fast", [Cell(f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]") for one in times]),
    ]
    first = found[0]
    head = [
        f"one epoch of {first['rows']:,} images, batch {first['batch_size']}, {first['device']}, {first['threads']} threads"
    ]
    notes = [f"medians of {count} rounds in turns; ratios paired by round, with the interval of their median."]
    return lay_out(columns, head, notes, "text", None, "")


def _serve(name: str, fields: dict[str, Any], descriptor: int) -> None:
    dataset = data.load("auto", None)
    rows, count, device = (fields.pop(key) for key in ("rows", "count", "device"))
    case = Case(**fields, images=dataset.images[:rows], labels=dataset.labels[:rows])
    serve(networks(case, count, name == TOGETHER, device), descriptor)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in (ALONE, TOGETHER):
        _serve(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
    else:
        raise SystemExit(main())
