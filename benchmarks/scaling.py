"""How samenet grows: trials an hour against workers, what dispatching a trial costs, and what a trial takes on disk."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import ROOT, seconds_of
from common.environment import describe
from common.layout import Cell, Column, lay_out
from common.store import Run, to_json, write_atomically

BUSY = {"architecture": "ffn:256-128", "training": {"epochs": 10, "batch_size": 32}}
"""Real trials that keep one core busy for several seconds."""
TINY = {"architecture": "ffn:1", "rows": 300, "training": {"epochs": 1, "batch_size": 100}}
"""Trials that take next to nothing, so that what remains is what dispatching them costs."""
KEPT = {"backend": ["sklearn", "torch"], "architecture": "ffn:128-64", "training": {"epochs": 10}}
"""Trials whose files are measured."""
WAYS = {
    "1 worker": ("--workers", 1),
    "2 workers": ("--workers", 2),
    "Dask, 1 worker": ("--executor", "dask", "--workers", 1),
    "Dask, 2 workers": ("--executor", "dask", "--workers", 2),
}


def main() -> int:
    """Print the tables, and write all figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("what", nargs="*", default=["sizes", "rates"], help="sizes, which a busy machine does not change; rates")  # fmt: skip
    parser.add_argument("--trials", type=int, default=12, help="real trials of each round")
    parser.add_argument("--tiny", type=int, default=100, help="tiny trials of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exported", nargs="+", type=int, default=[1000, 10_000], help="trials in one Parquet file")
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/scaling.json"))
    arguments = parser.parse_args()
    found: dict[str, Any] = {"environment": describe(("scikit-learn", "torch", "distributed", "polars"))}
    with tempfile.TemporaryDirectory() as folder:
        if "sizes" in arguments.what:
            found["sizes"] = sizes(Path(folder), arguments.dataset)
            record = found["sizes"].pop("a record")
            found["exports"] = {trials: export(Path(folder), record, trials) for trials in arguments.exported}
            print(_sizes_table(found["sizes"], found["exports"]))
        if "rates" in arguments.what:
            found["seconds"] = rates(Path(folder), arguments)
            print(_rates_table(found["seconds"], arguments))
    write_atomically(arguments.output, to_json(found, indent=1))
    print(f"all figures: {arguments.output}")
    return 0


def _study(folder: Path, name: str, fields: dict[str, Any], seeds: int, dataset: str) -> Path:
    base = {"backend": "sklearn", "dataset": dataset, "seeds": seeds, "threads": 1, **fields}
    base["training"] = {**fields["training"], "early_stopping_patience": None}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"question": "How does samenet grow?", "base": base}), encoding="utf-8")
    return path


def sizes(folder: Path, dataset: str) -> dict[str, Any]:
    """Return what a trial takes on disk, by backend: bytes by file, bytes of whole blocks, files and folders."""
    results = folder / "sizes"
    seconds_of("--study", _study(folder, "sizes", KEPT, 1, dataset), "--results", results, "--no-report")
    (directory,) = results.iterdir()
    run, found = Run(directory), dict[str, Any]()
    for record in run.records():
        place = run.artefacts(record["key"])
        paths = [place.with_suffix(".json"), place, *place.iterdir()]
        size = {path.name: path.stat().st_size for path in paths[2:]}
        found[record["backend"]] = {
            "record": paths[0].stat().st_size,
            **size,
            "blocks": sum(path.stat().st_blocks * 512 for path in paths),
            "inodes": len(paths),
        }
        found["a record"] = record
    return found


def export(folder: Path, record: dict[str, Any], trials: int) -> dict[str, float]:
    """Return the bytes of so many records, made of one with other figures, and of the Parquet file with them."""
    run = Run(folder / f"exported-{trials}")
    keys = []
    for copy in _copies(record, trials):
        path = run.artefacts(copy["key"]).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(copy, indent=1), encoding="utf-8")
        keys.append(copy["key"])
    study = {"name": "exported", "question": "?", "recommend": None, "datasets": [record["dataset"]], "note": None}
    (run.directory / "study.json").write_text(to_json({**study, "keys": keys}), encoding="utf-8")
    target = folder / f"{trials}.parquet"
    command = [sys.executable, "compare.py", "table", str(run.directory), "--parquet", str(target)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the export of {trials} trials failed")
    records = sum(path.stat().st_size for path in run.directory.glob("trials/??/*.json"))
    return {"records": records, "parquet": target.stat().st_size, "peak_mb": usage.ru_maxrss * 1024 / 1e6}


def _copies(record: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Yield records with figures of their own: the same ones again and again would be stored once."""
    rng = np.random.default_rng(0)
    for seed in range(count):
        other = {name: value * rng.normal(1, 0.01) for name, value in record.items() if type(value) is float}
        yield {**record, **other, "key": rng.bytes(32).hex(), "seed": seed}


def rates(folder: Path, given: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of real and of tiny trials by way of running them, one for each round."""
    seconds: dict[str, dict[str, list[float]]] = {"real": {}, "tiny": {}}
    for round_ in range(given.rounds):  # in turns, so that a machine that slows down slows all
        for kind, fields, count in (("real", BUSY, given.trials), ("tiny", TINY, given.tiny)):
            study = _study(folder, kind, fields, count, given.dataset)
            for way, flags in WAYS.items():
                results = folder / f"{kind} {way} {round_}"
                took = seconds_of("--study", study, "--results", results, "--quiet", "--no-report", *flags)
                seconds[kind].setdefault(way, []).append(took)
    return seconds


def _sizes_table(sizes: dict[str, Any], exports: dict[int, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for found in sizes.values() for name in found))
    columns = [Column("a trial", [Cell(name) for name in names], right=False)]
    for backend, found in sizes.items():
        columns.append(Column(backend, [Cell(f"{found[name]:,}" if name in found else "–") for name in names]))
    notes = [f"{trials:,} trials: records {found['records'] / 1e6:,.1f} MB; one Parquet file "
             f"{found['parquet'] / 1e6:,.2f} MB, {found['parquet'] / trials:,.0f} bytes a trial, written in "
             f"{found['peak_mb']:,.0f} MB of memory." for trials, found in exports.items()]  # fmt: skip
    return lay_out(columns, ["Bytes of a trial of ffn:128-64"], notes, "text", None, "")


def _rates_table(seconds: dict[str, dict[str, list[float]]], given: argparse.Namespace) -> str:
    ways = list(seconds["real"])
    real, tiny = ({way: statistics.median(found) for way, found in seconds[kind].items()} for kind in ("real", "tiny"))
    columns = [
        Column("workers", [Cell(way) for way in ways], right=False),
        Column(f"{given.trials} real trials s", [Cell(f"{real[way]:.1f}") for way in ways]),
        Column("trials/h", [Cell(f"{3600 * given.trials / real[way]:,.0f}") for way in ways]),
        Column("times 1 worker", [Cell(f"{real['1 worker'] / real[way]:.2f}") for way in ways]),
        Column("s a tiny trial", [Cell(f"{tiny[way] / given.tiny:.3f}") for way in ways]),
    ]
    note = (
        f"whole commands, start included, one thread a trial, {os.cpu_count()} cores; medians of {given.rounds} rounds."
    )
    return lay_out(columns, ["What more workers bring"], [note], "text", None, "")


if __name__ == "__main__":
    raise SystemExit(main())
