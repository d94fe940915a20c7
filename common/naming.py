"""What a row is, in words: its backend and architecture, what varies between rows, and what they share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from common.layout import DASH, Cell, Column
from common.over_base import BASE
from common.summary import BETWEEN, SPEC_FIELDS, backend_label, natural
from config import Training

LABELS = {"batch_size": "batch", "learning_rate": "lr", "early_stopping_patience": "patience"}
JOINED = ["backend", "engine", "architecture", "data_sha256", "split", "train_share"]
"""Fields that are not columns of their own: shown together, or (the hash) not at all."""

TRAINING = {"max_epochs", *Training.model_fields}

USUAL = Training().model_dump(include={"beta_1", "beta_2", "epsilon", "schedule", "augmentation", "validation"})
"""Settings that are only worth a word where they are not the default."""


def varying_fields(rows: pd.DataFrame) -> list[str]:
    """Return the settings in which rows differ, other than those that always stand in a row."""
    fields = [name for name in SPEC_FIELDS if name not in JOINED]
    return [name for name in fields if rows[name].nunique(dropna=False) > 1]


def together(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return the settings of training that change only together, if more than two, by the one that stands for them.

    As where each of a study's grids has its own way of training, and a column for each would say one thing many times.
    Where no value occurs twice nothing shows that they belong together. The first that is a word stands for the others:
    ``optimizer`` rather than ``batch_size``.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in (name for name in varying_fields(rows) if name in TRAINING):
        groups.setdefault(tuple(pd.factorize(rows[name], use_na_sentinel=False)[0]), []).append(name)
    found = {}
    for names in (names for place, names in groups.items() if len(names) > 2 and max(place) + 1 < len(rows)):
        first = next((name for name in names if isinstance(rows[name].iloc[0], str)), names[0])
        found[first] = [name for name in names if name != first]
    return found


def telling_fields(rows: pd.DataFrame) -> list[str]:
    """Return what of :func:`varying_fields` tells rows apart: of settings that change together, one."""
    told = {name for names in together(rows).values() for name in names}
    return [name for name in varying_fields(rows) if name not in told]


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
    """Return the columns that say which configuration a row is: always backend and architecture, then what tells."""
    texts = {
        "backend": [backend_label(row) for row in rows[["backend", "engine"]].to_dict("records")],
        "architecture": [str(name) for name in rows["architecture"]],
        "split": [split_text(row) for row in rows[["split", "train_share"]].to_dict("records")],
    }
    if len(set(texts["split"])) == 1:
        del texts["split"]
    for name in telling_fields(rows):
        texts[field_label(name)] = [setting_text(name, value) for value in rows[name]]
    return [Column(header, [Cell(text) for text in cells], right=False) for header, cells in texts.items()]


def row_names(rows: pd.DataFrame) -> list[str]:
    """Return each row's identity in one line: backend and architecture, then what varies, named.

    Where rows are held against a study's base, only in what they differ from it.
    """
    if not len(rows):
        return []
    backend, architecture, *others = identity(rows)
    usual = _of_the_base(rows, others)
    found = []
    for at in range(len(rows)):
        texts = [(column.header, column.cells[at].text) for column in others]
        more = ", ".join(f"{header} {text}" for header, text in texts if text != usual.get(header))
        found.append(f"{backend.cells[at].text} {architecture.cells[at].text}" + (f" ({more})" if more else ""))
    return found


def _of_the_base(rows: pd.DataFrame, columns: Iterable[Column]) -> dict[str, str]:
    """Return what a study's base has in columns where it has one thing, by header; nothing without a base."""
    at = [place for place, word in enumerate(rows.get("against_base", [])) if word == BASE]
    texts = {column.header: {column.cells[place].text for place in at} for column in columns}
    return {header: found.pop() for header, found in texts.items() if len(found) == 1}


def caption(rows: pd.DataFrame) -> str | None:
    """Return in one line what all rows share, and what goes together in those that do not.

    Settings at nothing (0, off, null) or as usual go without saying.
    """
    if not len(rows):
        return None
    head, varying = rows.iloc[0], varying_fields(rows)
    splits = {split_text(row) for row in rows[["split", "train_share"]].drop_duplicates().to_dict("records")}
    parts = [] if "dataset" in varying else [str(head["dataset"])]
    parts += [f"split {splits.pop()}"] if len(splits) == 1 else []
    shared = [name for name in SPEC_FIELDS if name not in [*JOINED, "dataset", *varying]]
    parts += _settings(head, [name for name in shared if name not in USUAL or head[name] != USUAL[name]])
    for first, others in together(rows).items():
        for _, row in rows.drop_duplicates(first).iterrows():
            with_it = ", ".join(_settings(row, others))
            parts.append(f"{field_label(first)} {setting_text(first, row[first])}: {with_it}")
    return " · ".join(parts)


def _settings(row: pd.Series[Any], names: Iterable[str]) -> list[str]:
    """Return settings that are at something, named where their value does not speak for itself."""
    return [
        setting_text(name, row[name])
        if name in ("optimizer", "device", "precision")
        else f"{field_label(name)} {setting_text(name, row[name])}"
        for name in names
        if not pd.isna(row[name]) and row[name] not in (0, False, "", "none")
    ]


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
