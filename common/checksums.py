"""Hashes of data files: against the published ones, else against those of the first use."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from config import UserError

RECORD = "sha256.json"


def expected(folder: Path, published: Mapping[str, str | None]) -> dict[str, str]:
    """Hashes that the files of a data set must have: the published one, else the one recorded at first use.

    Parameters
    ----------
    folder : Path
        Folder of the data set.
    published : mapping of str to (str or None)
        SHA-256 by file name, None where none was confirmed.

    Returns
    -------
    dict of str to str
        SHA-256 by file name; a file without an entry has not been seen before.

    Raises
    ------
    UserError
        If the record of first use cannot be read.
    """
    return _recorded(folder) | {name: sha256 for name, sha256 in published.items() if sha256}


def check(path: Path, found: str, wanted: str | None) -> None:
    """Raise UserError if a file's content has another SHA-256 than is wanted; None wants nothing."""
    if wanted is not None and found != wanted:
        raise UserError(
            f"{path}: SHA-256 {found}, expected {wanted}: "
            f"not the known file (move it away, and the next run fetches it again)"
        )


def record(folder: Path, found: Mapping[str, str]) -> None:
    """Keep the hashes of files seen for the first time, for the next use to check against.

    A folder that cannot be written (a shared, read-only one) is used without a record.
    """
    known = _recorded(folder)
    if found.keys() <= known.keys():
        return
    text = json.dumps(dict(found) | known, indent=2, sort_keys=True) + "\n"
    try:
        # In a folder of its own and renamed when complete, so that no process ever reads half a record.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".sha256-") as scratch:
            complete = Path(scratch) / RECORD
            complete.write_text(text, encoding="utf-8")
            os.replace(complete, folder / RECORD)
    except OSError:
        pass


def _recorded(folder: Path) -> dict[str, str]:
    path = folder / RECORD
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}): move it away, and the next run writes a new one") from error
    if not isinstance(entries, dict) or not all(isinstance(sha256, str) for sha256 in entries.values()):
        raise UserError(f"{path}: expected hashes by file name: move it away, and the next run writes a new one")
    return entries
