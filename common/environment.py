"""What a run was measured on: machine, library versions, commit."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """Return the environment of a run.

    Parameters
    ----------
    packages : distributions whose versions matter.

    Returns
    -------
    ``fixed`` (a run resumes only where all of it is equal) and ``also`` (worth knowing).
    """
    return {
        "fixed": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in sorted({"numpy", *packages})},
        },
        "also": {"system": platform.platform(), "memory_mb": _memory_mb(), "commit": _commit()},
    }


def in_record(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every record says of the environment :func:`describe` found: CPU, library versions, commit."""
    fixed = environment["fixed"]
    versions = {name: found for name, found in fixed.items() if name not in ("cpu", "cores")}
    return {"cpu": fixed["cpu"], "versions": json.dumps(versions), "commit": environment["also"]["commit"]}


def of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`describe` said, as far as a record tells: what :func:`in_record` took from it."""
    return {"fixed": {"cpu": record["cpu"], **json.loads(record["versions"])}, "also": {"commit": record["commit"]}}


def version(package: str) -> str | None:
    """Return the version of an installed distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Return what this machine's processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6


def _commit() -> str | None:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
