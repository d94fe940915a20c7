"""What the harness costs: its share of a trial, and how listing, resuming and tabulating grow with the store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import backends
from common import studies
from common.environment import describe, in_record
from common.store import Run
from common.trial import empty_record
from config import Study

SEEDS = 10


def make_store(trials: int, folder: Path) -> Path:
    """Write a study of so many trials, and a run with a record for each of them; return the study's file.

    The records are made up; a store cannot tell.
    """
    fields = {
        "question": f"What do {trials} trials cost?",
        "base": {
            "backend": "torch",
            "dataset": "auto",
            "architecture": [f"ffn:{1 + width}" for width in range(trials // SEEDS)],
            "seeds": SEEDS,
            "threads": 1,
        },
    }
    file = folder / f"store-{trials}.json"
    file.write_text(json.dumps(fields), encoding="utf-8")
    study = Study.model_validate({"name": file.stem, **fields})
    plan = studies.plan(study, {}, backends.vocabulary(), None, {})
    run = Run(folder / "results" / plan.run_name)
    environment = describe(("torch",))
    run.begin(plan.description(), environment, overwrite=False)
    rng = np.random.default_rng(0)
    for trial in plan.trials:
        figures = dict.fromkeys(("test_accuracy", "test_f1_macro", "val_accuracy"), float(rng.normal(0.95, 0.01)))
        times = dict.fromkeys(("fit_s", "epoch_s", "latency_ms_p50", "energy_j", "first_step_s"), float(rng.gamma(9)))
        sizes = {"n_classes": 10, "n_train": 1200, "n_val": 237, "n_test": 360, "parameters": 650, "model_bytes": 2600}
        run.write({**empty_record(trial), **figures, **times, **sizes, "status": "ok", "contended": False,
                   "energy_method": "made up", **in_record(environment)})  # fmt: skip
    return file
