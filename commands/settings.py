"""Studies with values laid over them, named as the command line's flags."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from commands.arguments import number, positive, share, whole

if TYPE_CHECKING:
    from common.studies import Plan

SETTINGS = {
    "backend": "backend",
    "engine": "engine",
    "arch": "architecture",
    "split": "train_share",
    "dataset": "dataset",
    "rows": "rows",
    "device": "device",
    "precision": "precision",
    "protocol": "protocol",
    "loop": "loop",
    "threads": "threads",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "optimizer": "training.optimizer",
    "learning_rate": "training.learning_rate",
    "sparsity": "training.sparsity",
}
"""Flags that lay their values over the study's, and the field each one sets."""


def add_flags(group: argparse._ArgumentGroup, seeds: str = "number of seeds: 0 to N - 1") -> None:
    """Take the flags of :data:`SETTINGS`, the number of seeds, and whether code that a file names may be run."""
    group.add_argument("--backend", action="append", metavar="NAME", help="only this backend; repeatable")
    group.add_argument("--engine", action="append", metavar="NAME", help="Keras's engine: tensorflow, torch, jax")
    group.add_argument(
        "--arch", nargs="+", metavar="ARCH", help="ffn:64, ffn:16x64:sigmoid, cnn, your own FILE.py:callable"
    )
    group.add_argument("--allow-code", action="store_true", help="run the module:callable that a study file names")
    group.add_argument("--split", nargs="+", type=share, metavar="SHARE", help="train shares, or official")
    group.add_argument("--seeds", type=positive, metavar="N", help=seeds)
    group.add_argument("--epochs", nargs="+", type=whole, metavar="N")
    group.add_argument("--batch-size", nargs="+", type=whole, metavar="N")
    group.add_argument("--optimizer", nargs="+", metavar="NAME", help="sgd, adam, adamw")
    group.add_argument("--learning-rate", nargs="+", type=number, metavar="RATE")
    group.add_argument("--sparsity", nargs="+", type=number, metavar="SHARE", help="of weights that end at zero")
    group.add_argument(
        "--dataset", nargs="+", metavar="NAME", help="auto, mnist, fashion_mnist, cifar10, digits, FILE.npz"
    )
    group.add_argument("--rows", nargs="+", type=whole, metavar="N", help="use N rows of the data, drawn by class")
    group.add_argument("--protocol", nargs="+", metavar="NAME", help="matched, native (default: matched)")
    group.add_argument("--loop", nargs="+", metavar="NAME", help="tuned, idiomatic (default: tuned)")
    group.add_argument("--device", nargs="+", metavar="NAME", help="cpu, cuda, auto (default: cpu)")
    group.add_argument("--precision", nargs="+", metavar="NAME", help="float32, float64, bfloat16 (default: float32)")
    group.add_argument("--threads", nargs="+", type=whole, metavar="N", help="threads a trial (default: all cores)")


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the flags that were given."""
    return {flag: value for flag in (*SETTINGS, "seeds") if (value := getattr(arguments, flag)) is not None}


def leaves(over: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return values by the names of flags as values by the fields they set, a list each."""
    from config import UserError, flatten, nearest

    unknown = [name for name in over if name not in (*SETTINGS, "seeds")]
    if unknown:
        known = [*SETTINGS, "seeds"]
        raise UserError(f"{unknown[0]}: is no setting{nearest(unknown[0], known)} Known: {', '.join(known)}")
    found = {
        SETTINGS[flag]: value if isinstance(value, list) else [value] for flag, value in over.items() if flag != "seeds"
    }
    return found | (flatten({"seeds": over["seeds"]}) if "seeds" in over else {})


def plan(
    study: str | Mapping[str, Any], over: Mapping[str, Any], data_dir: str | None, workers: int, allow_code: bool
) -> Plan:
    """Multiply a study out, with `over`, values by the names of flags, laid over it."""
    import backends
    from common import studies

    vocabulary = backends.vocabulary(allow_code)
    return studies.plan(studies.read(study), leaves(over), vocabulary, data_dir, {"threads": [cores(workers)]})


def cores(workers: int) -> int:
    """Return the threads of a trial where nobody says how many: its share of the machine's."""
    import os

    # fewer than the machine's under taskset, or where a cluster's scheduler gives out cores
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, here // workers)
