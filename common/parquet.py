"""A run's trials as one Parquet file: what is left of a million records when they are to be sent or analyzed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.optional import check_installed
from common.store import Run, write_atomically
from config import UserError

if TYPE_CHECKING:
    import polars

_BATCH = 10_000
"""Records that are held in memory at once (20 KB each); as columns they take 3 KB."""


def write_parquet(run: Run, path: Path) -> int:
    """Write a row a trial, in the study's order, with all that the records say; return the rows.

    Columns are the records' fields. What is no number, text or truth value, as the nested ``spec``, is JSON.

    Raises
    ------
    UserError
        Where Polars is not installed, the run has no record, or the file cannot be written.
    """
    check_installed("--parquet", ["polars"], "requirements-scale.txt")
    import polars

    keys = run.study()["keys"]
    batches = (run.records(keys[first : first + _BATCH]) for first in range(0, len(keys), _BATCH))
    parts = [_columns(records) for records in batches if records]
    if not parts:
        raise UserError(f"{run.directory} has no record yet")
    table = polars.concat(parts, how="diagonal_relaxed")  # a field that one version of samenet has is null elsewhere
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"--parquet: {path} cannot be written ({error.strerror})") from error
    return int(table.height)


def _columns(records: list[dict[str, Any]]) -> polars.DataFrame:
    import polars

    rows = [
        {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in record.items()}
        for record in records
    ]
    return polars.DataFrame(rows, infer_schema_length=None, strict=False)
