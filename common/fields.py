"""The fields of a record, and what kinds of values they hold; a file on disk may say anything."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from common.course import LEVELS

FIGURES = (
    *(
        "status",
        "error",
        "contended",
        "batched",
        "n_train",
        "n_val",
        "n_test",
        "n_classes",
        "parameters",
        "flops_per_sample",
    ),
    *("test_accuracy", "test_precision_macro", "test_recall_macro", "test_f1_macro", "test_log_loss"),
    *("val_accuracy", "val_log_loss", "train_loss", "epochs", "best_epoch"),
    *("startup_s", "import_s", "data_s", "build_s", "first_step_s", "fit_s", "epoch_s", "evaluate_s", "save_s"),
    *(f"{name}_to_{level}" for level in LEVELS for name in ("epochs", "fit_s")),
    *("trial_s", "harness_s", "latency_ms_p50", "latency_ms_p95", "throughput_per_s", "model_bytes"),
    *("idle_memory_mb", "peak_memory_mb", "memory_rise_mb", "memory_method", "device_memory_mb", "cpu_s"),
    *(
        "untrained",
        "untrained_parameters",
        "energy_j",
        "energy_method",
        "differs",
        "settings",
        "cpu",
        "blas",
        "versions",
        "commit",
    ),
)
"""The measured columns of a record, in the order of ``tables/trials.csv``; units are in the names."""

_TEXTS = frozenset(
    (
        *("key", "backend", "engine", "architecture", "dataset", "data_sha256", "split", "scaling", "optimizer"),
        *("schedule", "augmentation", "protocol", "loop", "device", "precision", "status", "error", "memory_method"),
        *("energy_method", "cpu", "blas", "versions", "commit"),
    )
)
_NEEDED = ("key", "backend", "architecture", "dataset", "status")
_NESTED: dict[str, type] = {"warnings": list, "untrained": list, "differs": list, "settings": dict, "spec": dict}
_NUMBERS = frozenset(
    (
        *("rows", "seed", "threads", "train_share", "input_size", "pca", "max_epochs", "batch_size", "learning_rate"),
        *("momentum", "nesterov", "beta_1", "beta_2", "epsilon", "l2", "weight_decay", "label_smoothing"),
        "sparsity",
        *("early_stopping_patience", "validation"),
        *(name for name in FIGURES if name not in _TEXTS and name not in _NESTED),
    )
)
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(_NUMBERS, (int, float)),
    **_NESTED,
}


def mistake(record: Mapping[str, Any]) -> str | None:
    """Return what no record says, None where all is well; a field that is missing or not known is no mistake.

    Raises
    ------
    ValueError, KeyError
        Where one that every record has is missing, or its JSON is none.
    """
    for name, value in record.items():
        if value is not None and not isinstance(value, _KINDS.get(name, object)):
            return f"{name} is {value!r:.40}"
    if missing := [name for name in _NEEDED if record[name] is None]:
        return f"{missing[0]} is null"
    return None if _is_object(record.get("versions") or "{}") else "versions is no object"


@functools.lru_cache  # the records of a run have few different ones
def _is_object(text: str) -> bool:
    return isinstance(json.loads(text), dict)
