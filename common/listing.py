"""What ``compare.py list`` prints: backends, architectures, studies, data sets and runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import backends
from backends.models import catalog
from common import data, store, studies
from common.environment import version
from config import UserError


def text(what: str, data_dir: str | None, results: Path) -> str:
    """Return one list as text with its title."""
    rows: dict[str, Callable[[], list[tuple[str, str]]]] = {
        "backends": _backends,
        "architectures": _architectures,
        "protocols": _protocols,
        "studies": lambda: [(name, studies.read(name).question) for name in studies.shipped()],
        "datasets": lambda: [
            (found.name, "; ".join(filter(None, [found.what, found.where]))) for found in data.available(data_dir)
        ],
        "runs": lambda: [(run.name, _run(run)) for run in store.list_runs(results)],
    }
    return "\n".join([f"{what}:", *_aligned(rows[what]()), ""])


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:{width}}  {about}" for name, about in rows] or ["  none yet"]


def _backends() -> list[tuple[str, str]]:
    rows = []
    for name in backends.names():
        backend = backends.load(name)
        versions = ", ".join(f"{package} {version(package) or 'not installed'}" for package in backend.packages)
        engines = f"; engines: {', '.join(backend.engines)}" if backend.engines else ""
        rows.append((name, versions + engines))
        rows += [("", f"cannot: {reason}") for reason in backend.capability.refuses.values()]
    return rows


def _architectures() -> list[tuple[str, str]]:
    rows = [
        (
            "ffn:SIZES[:ACTIVATIONS]",
            f"feed-forward, in {', '.join(backends.names())}; such as ffn:128-64, ffn:16x64:sigmoid",
        )
    ]
    for name, entry in catalog().items():
        options = json.dumps(dict(entry.options))
        rows.append((name, f"in {', '.join(entry.modules)}; options {options}"))
    return rows


def _protocols() -> list[tuple[str, str]]:
    rows = [("matched", "the same initial weights, batches, optimizer arithmetic and stopping rule in every framework")]
    rows += [("native", "each framework's own conventions, on the same splits and batches:")]
    for name in backends.names():
        rows += [("", f"{name}, {subject}: {what}") for subject, what in backends.load(name).native.items()]
    return rows


def _run(run: store.Run) -> str:
    try:
        study = run.study()
    except UserError as error:
        return str(error)
    done = len(run.records(study["keys"]))
    return f"{done} of {len(study['keys'])} trials; {study['question']}"
