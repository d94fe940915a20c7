"""What a row is, in words: its backend and architecture, what varies between rows, and what they share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from common.layout import DASH, Cell, Column
from common.summary import BETWEEN, SPEC_FIELDS, backend_label, natural
from config import Training

LABELS = {"batch_size": "batch", "learning_rate": "lr", "early_stopping_patience": "patience"}
JOINED = ["backend", "engine", "architecture", "data_sha256", "split", "train_share"]
"""Fields that are not columns of their own: shown together, or (the hash) not at all."""

USUAL = Training().model_dump(include={"beta_1", "beta_2", "epsilon", "schedule", "augmentation", "validation"})
"""Settings that are only worth a word where they are not the default."""


def varying_fields(rows: pd.DataFrame) -> list[str]:
    """Return the settings in which rows differ, other than those that always stand in a row."""
    fields = [name for name in SPEC_FIELDS if name not in JOINED]
    return [name for name in fields if rows[name].nunique(dropna=False) > 1]


def split_text(row: Mapping[Any, Any]) -> str:
    """Return ``80/20``, or the name of a split that has no share."""
    if pd.isna(row["train_share"]):
        return str(row["split"])
    train = 100 * row["train_share"]
    return f"{train:g}/{100 - train:g}"


def field_label(name: str) -> str:
    """Return a setting's name as tables head it."""
    return LABELS.get(name, name.replace("_", " "))


def setting_text(name: str, value: Any) -> str:
    """Return a setting's value as tables show it."""
    if pd.isna(value):
        return {"rows": "all", "early_stopping_patience": "off"}.get(name, DASH)
    return f"{value:g}" if isinstance(value, float) else str(value)


def identity(rows: pd.DataFrame) -> list[Column]:
    """Return the columns that say which configuration a row is: always backend and architecture, then what varies."""
    texts = {
        "backend": [backend_label(row) for row in rows[["backend", "engine"]].to_dict("records")],
        "architecture": [str(name) for name in rows["architecture"]],
        "split": [split_text(row) for row in rows[["split", "train_share"]].to_dict("records")],
    }
    if len(set(texts["split"])) == 1:
        del texts["split"]
    for name in varying_fields(rows):
        texts[field_label(name)] = [setting_text(name, value) for value in rows[name]]
    return [Column(header, [Cell(text) for text in cells], right=False) for header, cells in texts.items()]


def row_names(rows: pd.DataFrame) -> list[str]:
    """Return each row's identity in one line: backend and architecture, then what varies, named."""
    if not len(rows):
        return []
    backend, architecture, *others = identity(rows)
    found = []
    for at in range(len(rows)):
        more = ", ".join(f"{column.header} {column.cells[at].text}" for column in others)
        found.append(f"{backend.cells[at].text} {architecture.cells[at].text}" + (f" ({more})" if more else ""))
    return found


def caption(rows: pd.DataFrame) -> str | None:
    """Return in one line what all rows share; settings at nothing (0, off, null) or as usual go without saying."""
    if not len(rows):
        return None
    head, varying = rows.iloc[0], varying_fields(rows)
    splits = {split_text(row) for row in rows[["split", "train_share"]].drop_duplicates().to_dict("records")}
    parts = [] if "dataset" in varying else [str(head["dataset"])]
    parts += [f"split {splits.pop()}"] if len(splits) == 1 else []
    for name in (name for name in SPEC_FIELDS if name not in [*JOINED, "dataset", *varying]):
        value = head[name]
        if pd.isna(value) or value in (0, False, "", "none"):
            continue
        if name in USUAL and value == USUAL[name]:
            continue
        bare = name in ("optimizer", "device", "precision")
        parts.append(setting_text(name, value) if bare else f"{field_label(name)} {setting_text(name, value)}")
    return " · ".join(parts)


def unlike(rows: pd.DataFrame) -> str | None:
    """Say in which conditions the rows of a table differ: a difference between figures may come from any of them.

    Conditions are machine, threads, BLAS, library versions, commit, data, protocol, loop and whether other trials ran
    beside. What no record says is unknown, and nothing is said of it; nor of a library that only some rows use.
    """
    values = {name: _distinct(rows[name]) for name in ("cpu", "threads", "blas", "commit", "protocol", "loop")}
    versions: dict[str, set[str]] = {}
    for text in rows["versions"].dropna():
        for package, version in json.loads(text).items():
            versions.setdefault(f"{package} version", set()).update(str(version).split(BETWEEN))
    values |= {package: sorted(found) for package, found in sorted(versions.items())}
    values["data"] = _distinct(rows["dataset"])
    for name, hashes in rows.groupby("dataset", sort=True)["data_sha256"]:
        values[f"data of {name}, by SHA-256"] = [value[:8] for value in _distinct(hashes)]
    busy = rows["contended"].eq(True)
    values["contention"] = ["alone", "beside other trials"][: busy.nunique()]
    differing = [f"{name} ({', '.join(found)})" for name, found in values.items() if len(found) > 1]
    if not differing:
        return None
    return f"Not the same in all rows: {'; '.join(differing)}. Differences between rows may come from these."


def _distinct(values: pd.Series[Any]) -> list[str]:
    return sorted({part for value in values.dropna() for part in str(value).split(BETWEEN)}, key=natural)
