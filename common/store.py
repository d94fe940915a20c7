"""Trial records on disk: written whole or not at all, found again by the trial's key, never overwritten unasked."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from config import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

SETTLED = ("ok", "unsupported")
"""Statuses that running again would not change."""


def to_json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON: numbers that are not finite become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to a temporary name beside `path`, flush it to the disk, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


class Run:
    """One run's directory: ``study.json``, ``environment.json``, ``trials/``, ``run.log``, ``tables/``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def find(cls, name: str, results: Path) -> Run:
        """Return the run called `name` in `results`, or at the path `name`.

        Raises
        ------
        UserError
            Where there is none, with the nearest name.
        """
        for directory in (results / name, Path(name)):
            if (directory / "study.json").is_file() or (directory / "trials").is_dir():
                return cls(directory)
        known = [run.name for run in list_runs(results)]
        listed = f" Runs there: {', '.join(known)}" if known else " There are no runs there yet"
        raise UserError(f"run: {name!r} is not a run in {results}{nearest(name, known)}{listed}")

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.directory.name

    def begin(self, study: Mapping[str, Any], environment: Mapping[str, Any], overwrite: bool) -> None:
        """Make the directory, or take up the one that is there.

        Raises
        ------
        UserError
            Where what is there was measured on another machine or with other library versions, or nothing can be
            written there.
        """
        try:
            self._begin(study, environment, overwrite)
        except OSError as error:
            raise UserError(
                f"results: {error.filename or self.directory} cannot be written ({error.strerror}). "
                "Give a folder that can be, with --results DIR"
            ) from error

    def _begin(self, study: Mapping[str, Any], environment: Mapping[str, Any], overwrite: bool) -> None:
        if overwrite and self.directory.exists():
            shutil.rmtree(self.directory)
        path = self.directory / "environment.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))["fixed"]
            changed = [name for name, value in environment["fixed"].items() if before.get(name, value) != value]
            if changed:
                then_now = "; ".join(
                    f"{name} was {before.get(name)}, is {environment['fixed'][name]}" for name in changed
                )
                raise UserError(
                    f"{self.directory} was begun elsewhere, and its figures do not mix with new ones ({then_now}). "
                    "Give --results DIR for a new run beside it, or --overwrite to begin this one again"
                )
        else:
            write_atomically(path, to_json(environment, indent=1))
        write_atomically(self.directory / "study.json", to_json(study, indent=1))

    def study(self) -> dict[str, Any]:
        """Return ``study.json``: name, question, chart, data sets, note, recommend, and the trials' keys.

        Where the file is gone, what records and the directory's name say of it.
        """
        path = self.directory / "study.json"
        if not path.exists():
            return self._study_of_records()
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _study_of_records(self) -> dict[str, Any]:
        from common import studies

        records = self.records()
        datasets = sorted({record["dataset"] for record in records})
        name = self.name.removesuffix(self.name[-9:]).removesuffix("-" + "-".join(datasets))
        known = studies.read(name) if name in studies.shipped() else None
        return {
            "name": name,
            "question": known.question if known else f"What did {name} measure?",
            "recommend": known.recommend if known else None,
            "chart": known.chart if known else None,
            "datasets": datasets,
            "note": None,
            "keys": [record["key"] for record in records],
        }

    def artefacts(self, key: str) -> Path:
        """Return the directory of a trial's history, predictions and model."""
        return self.directory / "trials" / key[:2] / key

    def staging(self, key: str) -> Path:
        """Return the directory in which a trial's artefacts are made before they count."""
        return self.artefacts(key).with_suffix(".part")

    def write(self, record: Mapping[str, Any]) -> None:
        """Put a finished trial's artefacts in their place, then its record: the record's rename is what counts."""
        final = self.artefacts(record["key"])
        staged = self.staging(record["key"])
        shutil.rmtree(final, ignore_errors=True)
        if staged.is_dir() and any(staged.iterdir()):
            os.replace(staged, final)
        else:
            shutil.rmtree(staged, ignore_errors=True)
        write_atomically(final.with_suffix(".json"), to_json(record, indent=1))

    def records(self, keys: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Return the records of `keys`, or all, in that order; an unreadable one is set aside as ``.damaged``."""
        if keys is None:
            keys = [path.stem for path in sorted((self.directory / "trials").glob("??/*.json"))]
        folder = str(self.directory / "trials")  # of ten thousand paths, objects take longer than the reading
        return [record for key in keys if (record := _readable(f"{folder}/{key[:2]}/{key}.json", key)) is not None]

    def log(self, line: str) -> None:
        """Append one line to ``run.log`` with the time."""
        import datetime

        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with (self.directory / "run.log").open("a", encoding="utf-8") as file:
            file.write(f"{now} {line}\n")


def _readable(path: str, key: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            record: dict[str, Any] = from_json(file.read())  # half the time of json.loads
        if record["key"] == key and isinstance(record["status"], str):
            return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        pass
    Path(path).rename(Path(path).with_suffix(".damaged"))
    return None


def load(run: Run) -> pd.DataFrame:
    """Return a run's records as a table, a row a trial, in the study's order; without the nested specification."""
    return table(run.records(run.study()["keys"]))


def table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return records as a table, a row each, without the nested specification."""
    import pandas as pd

    records = list(records)
    names: dict[str, Any] = {}
    for record in records:  # whose fields differ where versions of samenet do
        names |= record
    return pd.DataFrame({name: [record.get(name) for record in records] for name in names if name != "spec"})


def list_runs(results: Path) -> list[Run]:
    """Return the runs in `results`, the newest last."""
    found = [Run(path.parent) for path in results.glob("*/study.json")]
    return sorted(found, key=lambda run: (run.directory / "study.json").stat().st_mtime)
