"""What a page says of each trial and how to run it again: figures, curve, confusion, environment, warnings, command."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.summary import SPEC_FIELDS, configuration

if TYPE_CHECKING:
    from common.results import Results

MOST_ARTEFACTS = 2000
"""Trials whose curves and confusion matrices a page holds; of more, those of the first seeds."""

ASIDE = ("spec", "key", "warnings", "settings", "versions", "cpu", "blas", "commit", "untrained")
"""Fields of a record that are no figures; the page shows them elsewhere or in words."""


def details(results: Results) -> dict[str, Any]:
    """Return each trial's figures, and for each row of the summary its trials and its command.

    Returns
    -------
    ``columns``, the figures by name, a list with an entry a trial (columns are a tenth the size of a list of objects
    once compressed); ``key``, ``warnings``, ``environment`` (a number of ``environments``), ``curve`` and ``confusion``,
    entries by trial; ``rows``, for each row of the table the numbers of its trials, its specification and how to run
    it again.
    """
    records = results.records
    names = [name for name in dict.fromkeys(name for one in records for name in one)
             if name not in ASIDE and name not in SPEC_FIELDS and name != "max_epochs"]  # fmt: skip
    environments: dict[str, int] = {}
    places = [environments.setdefault(json.dumps(_environment(one)), len(environments)) for one in records]
    shown = _shown(records)
    return {
        "columns": {name: [one.get(name) for one in records] for name in names},
        "key": [one["key"] for one in records],
        "warnings": [one.get("warnings") or [] for one in records],
        "environment": places,
        "environments": [json.loads(text) for text in environments],
        "curve": [_rounded(results.history(one["key"])) if one["key"] in shown else None for one in records],
        "confusion": [_confusion(results, one) if one["key"] in shown else None for one in records],
        "rows": _rows(results),
    }


def _environment(record: Mapping[str, Any]) -> dict[str, Any]:
    versions = json.loads(record.get("versions") or "{}")
    found = {"cpu": record.get("cpu"), "BLAS": record.get("blas"), "commit": record.get("commit"), **versions}
    settings = record.get("settings") or {}
    return {name: value for name, value in {**found, **settings}.items() if value is not None}


def _shown(records: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the keys of the trials whose artefacts are shown."""
    by_seed = sorted((one for one in records if one["status"] == "ok"), key=lambda one: one["seed"])
    return {one["key"] for one in by_seed[:MOST_ARTEFACTS]}


def _rounded(history: Mapping[str, Sequence[float | None]]) -> dict[str, list[float | None]]:
    """Return a history with four significant digits: no curve shows more."""
    return {
        name: [None if value is None else float(f"{value:.4g}") for value in values] for name, values in history.items()
    }


def _confusion(results: Results, record: Mapping[str, Any]) -> list[int] | None:
    """Return counts by label and answer, row after row."""
    found = results.predictions(record["key"])
    classes = record.get("n_classes")
    if found is None or not classes:
        return None
    counts = np.bincount(found["label"].astype(np.int64) * classes + found["predicted"], minlength=classes**2)
    return [int(count) for count in counts]


def _rows(results: Results) -> list[dict[str, Any]]:
    places = {record["key"]: number for number, record in enumerate(results.records)}
    found = []
    for row in results.rows.to_dict("records"):
        records = results.by_configuration[configuration(row)]
        numbers = [places[record["key"]] for record in records]
        again = command(records, results.study.get("search"))
        found.append({"trials": numbers, "spec": _flat(records[0]["spec"]), "command": again})
    return found


def _flat(spec: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a specification as one level of dotted names, without the seed; lists as text."""
    flat: dict[str, Any] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif f"{prefix}{name}" not in ("seed", "data_sha256"):
            flat[prefix + name] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flat


def command(records: Sequence[Mapping[str, Any]], search: Mapping[str, Any] | None) -> str | None:
    """Return shell lines that run a configuration's trials again: a study file, and the command with it.

    What a search found is found again by the same search. A data set that is a user's own file is named by its name;
    the reader gives the path.

    Parameters
    ----------
    search : the one that found the configuration, as ``study.json`` has it.

    Returns
    -------
    None where a search found it, and the run no longer says which.
    """
    spec = dict(records[0]["spec"])
    searched, code = "split_seed" in spec, spec["architecture"]["name"] == "custom"
    if searched and search is None:
        return None
    filled_in = ("seed", "split_seed", "data_sha256", "architecture")
    base = {name: value for name, value in spec.items() if name not in filled_in}
    base["architecture"] = records[0]["architecture"]
    question = f"The same again: {records[0]['backend']} {records[0]['architecture']}"
    study: dict[str, Any] = {"question": question, "base": base}
    if searched:
        study["search"] = search
    else:
        base["seeds"] = 1 + max(int(record["seed"]) for record in records)
    text = json.dumps(study, indent=2, ensure_ascii=False)
    how, flag = "tune" if searched else "--study", " --allow-code" if code else ""
    return f"cat > again.json <<'END'\n{text}\nEND\npython compare.py {how} again.json{flag}"


def outcomes(results: Results) -> dict[str, int]:
    """Return how many trials ended how."""
    return dict(Counter(record["status"] for record in results.records).most_common())
