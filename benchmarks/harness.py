"""What the harness costs: its share of a trial, and how listing, resuming and tabulating grow with the store."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import backends
from benchmarks.command import seconds_of
from common import studies
from common.environment import describe, in_record
from common.layout import Cell, Column, lay_out
from common.store import Run, to_json, write_atomically
from common.trial import empty_record
from config import Study

SEEDS = 10


def main() -> int:
    """Print both tables, and write all figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness", description=__doc__)
    parser.add_argument("--trials", nargs="+", type=int, default=[10, 100, 1000, 10_000], help="of the stores")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/harness.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shares = trial_shares(Path(folder), arguments.rounds, arguments.dataset)
        print(_shares_table(shares))
        stores = {
            trials: store_seconds(trials, Path(folder), arguments.rounds, arguments.dataset)
            for trials in arguments.trials
        }
        print(_stores_table(stores, arguments.rounds))
    found = {"environment": describe(("torch", "scikit-learn")), "trials": shares, "stores": stores}
    write_atomically(arguments.output, to_json(found, indent=1))
    print(f"all figures: {arguments.output}")
    return 0


def trial_shares(folder: Path, rounds: int, dataset: str) -> list[dict[str, float]]:
    """Run trials of ten epochs in warm processes; return what the parent process and the pipe added to each."""
    fields = {
        "question": "What does the harness add to a trial?",
        "base": {
            "backend": ["sklearn", "torch"],
            "dataset": dataset,
            "architecture": "ffn:128-64",
            "seeds": rounds + 1,
            "training": {"epochs": 10, "batch_size": 64, "early_stopping_patience": None},
        },
    }
    file = folder / "shares.json"
    file.write_text(json.dumps(fields), encoding="utf-8")
    seconds_of("--study", file, "--results", folder / "shares", "--no-report")
    (run,) = (folder / "shares").iterdir()
    records = [record for record in Run(run).records() if record["seed"] > 0]  # the first seed's process is fresh
    names = ("backend", "trial_s", "fit_s", "evaluate_s", "harness_s")
    return [{name: record[name] for name in names} for record in records]


def _shares_table(shares: list[dict[str, Any]]) -> str:
    rows = {name: [one for one in shares if one["backend"] == name] for name in sorted({s["backend"] for s in shares})}

    def median(name: str, figure: str) -> float:
        return statistics.median(float(one[figure]) for one in rows[name])

    columns = [
        Column("backend", [Cell(name) for name in rows], right=False),
        Column("trial s", [Cell(f"{median(name, 'trial_s'):.2f}") for name in rows]),
        Column("harness s", [Cell(f"{median(name, 'harness_s'):.4f}") for name in rows]),
        Column("share %", [Cell(f"{100 * median(name, 'harness_s') / median(name, 'trial_s'):.2f}") for name in rows]),
    ]
    notes = ["harness s: all of a trial but reading data, building, training, evaluating and saving; medians."]
    return lay_out(columns, ["What the harness adds to a trial"], notes, "text", None, "")


def make_store(trials: int, folder: Path, dataset: str) -> tuple[Path, Run]:
    """Write a study of so many trials, and a run with a record for each of them; return the study's file and the run.

    The records are made up; a store cannot tell.
    """
    fields = {
        "question": f"What do {trials} trials cost?",
        "base": {
            "backend": "torch",
            "dataset": dataset,
            "architecture": [f"ffn:{1 + width}" for width in range(max(1, trials // SEEDS))],
            "seeds": min(trials, SEEDS),
            "threads": 1,
        },
    }
    file = folder / f"store-{trials}.json"
    file.write_text(json.dumps(fields), encoding="utf-8")
    study = Study.model_validate({"name": file.stem, **fields})
    plan = studies.plan(study, {}, backends.vocabulary(), None, {})
    run, environment = Run(folder / f"results-{trials}" / plan.run_name), describe(("torch",))
    run.begin(plan.description(), environment, overwrite=False)
    rng = np.random.default_rng(0)
    for trial in plan.trials:
        figures = {name: float(rng.normal(0.95, 0.01)) for name in ("test_accuracy", "test_f1_macro", "val_accuracy")}
        times = {name: float(rng.gamma(9)) for name in ("fit_s", "epoch_s", "latency_ms_p50", "energy_j")}
        sizes = {"n_classes": 10, "n_train": 1200, "n_val": 237, "n_test": 360, "parameters": 650, "model_bytes": 2600}
        run.write({**empty_record(trial), **figures, **times, **sizes, "status": "ok", "contended": False,
                   "energy_method": "made up", **in_record(environment)})  # fmt: skip
    return file, run


def store_seconds(trials: int, folder: Path, rounds: int, dataset: str) -> dict[str, float]:
    """Return the seconds of each command on a store of so many trials: the median of the rounds."""
    file, run = make_store(trials, folder, dataset)
    results = run.directory.parent
    commands: dict[str, tuple[object, ...]] = {
        "list": ("list", "runs", "--results", results),
        "table": ("table", run.directory),
        "resume": ("--study", file, "--results", results, "--no-report"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            seconds[name].append(seconds_of(*command))
    return {name: statistics.median(found) for name, found in seconds.items()}


def _stores_table(stores: dict[int, dict[str, float]], rounds: int) -> str:
    columns = [Column("trials", [Cell(f"{trials:,}") for trials in stores])]
    for name in next(iter(stores.values())):
        columns.append(Column(f"{name} s", [Cell(f"{found[name]:.2f}") for found in stores.values()]))
    notes = [f"whole commands, start of Python included, with {SEEDS} seeds a configuration; medians of {rounds} rounds. "
             "resume: nothing is left to run; the plan is made, the tables are written and printed; without the report."]  # fmt: skip
    return lay_out(columns, ["Commands on stores of different sizes"], notes, "text", None, "")


if __name__ == "__main__":
    raise SystemExit(main())
