"""Studies with values laid over them, named as the command line's flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
}
"""Flags that lay their values over the study's, and the field each one sets."""


def plan(
    study: str | Mapping[str, Any], over: Mapping[str, Any], data_dir: str | None, workers: int, allow_code: bool
) -> Plan:
    """Multiply a study out, with `over`, values by the names of flags, laid over it."""
    import os

    import backends
    from common import studies
    from config import UserError, nearest

    unknown = [name for name in over if name not in (*SETTINGS, "seeds")]
    if unknown:
        known = [*SETTINGS, "seeds"]
        raise UserError(f"{unknown[0]}: is no setting{nearest(unknown[0], known)} Known: {', '.join(known)}")
    given = {
        SETTINGS[flag]: value if isinstance(value, list) else [value] for flag, value in over.items() if flag != "seeds"
    }
    if "seeds" in over:
        given["seed"] = list(range(over["seeds"]))
    cores = max(1, (os.cpu_count() or 1) // workers)
    return studies.plan(studies.read(study), given, backends.vocabulary(allow_code), data_dir, {"threads": [cores]})
