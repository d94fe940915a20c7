"""Trial records on disk: written whole or not at all, found again by the trial's key, never overwritten unasked."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from common.fields import mistake
from config import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

SETTLED = ("ok", "unsupported")
"""Statuses that running again would not change."""

_KEY = re.compile(r"[0-9a-f]{64}")
_WRITTEN_S = 60.0
"""By when a file outside ``trials/`` has been written, or its writer is gone."""
_TEXT = str | None
_STUDY = {"name": str, "question": str, "recommend": _TEXT, "datasets": list, "note": _TEXT, "keys": list}


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
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=_prefix(path), delete=False) as file:
        try:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            with suppress(FileNotFoundError):  # a signal may be heard just after the renaming
                os.unlink(file.name)
            raise


def _prefix(path: Path) -> str:
    """Return how the temporary names of a file begin, by which they are found where a write was killed.

    The file's own name is not in it: TensorBoard reads whatever has ``tfevents`` in its name.
    """
    return f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}."


def cannot_write(error: OSError, place: Path) -> UserError:
    """Return what the user is told where nothing can be written: full, read-only, without permission or inodes."""
    what = error.filename or place
    return UserError(
        f"results: {what} cannot be written ({error.strerror or error}). What is finished stays and can be read; make "
        "room or give a folder that can be written, with --results DIR. The same command goes on where it was"
    )


class Run:
    """One run's directory: ``study.json``, ``environment.json``, ``trials/``, ``run.log``, ``tables/``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mark = uuid.uuid4().hex[:8]

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

        Parameters
        ----------
        study : what ``study.json`` is to hold; one of no trials yet, as of a search that begins, replaces nothing.

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
        self._refuse_links()
        path = self.directory / "environment.json"
        if path.exists():
            fix = "delete it where machine and libraries are as they were, or --overwrite to begin the run again"
            before = _object(path, {"fixed": dict}, fix)["fixed"]
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
        described = self.directory / "study.json"
        if study["keys"] or not described.exists():
            write_atomically(described, to_json(study, indent=1))

    def _refuse_links(self) -> None:
        """Refuse a directory of which a part is a link: what is written there would be written elsewhere."""
        for folder in (self.directory, self.directory / "trials"):
            with suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_symlink() and entry.is_dir():
                        raise UserError(f"results: {entry.path} is a link; put the whole run where it leads to, and name "
                                        "that folder with --results DIR")  # fmt: skip

    def study(self) -> dict[str, Any]:
        """Return ``study.json``: name, question, chart, data sets, note, recommend, and the keys of the base and of all trials.

        Where the file is gone, what records and the directory's name say of it: not which trials are the base.

        Raises
        ------
        UserError
            Where it is damaged.
        """
        path = self.directory / "study.json"
        if not path.exists():
            return self._study_of_records()
        return _object(path, _STUDY, "the command that made the run writes it anew")

    def base(self) -> list[str]:
        """Return the keys of the trials that the study's others are held against, see :mod:`common.over_base`."""
        found = self.study().get("base")
        return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []

    @property
    def claims(self) -> Path:
        """Where processes that share the run say which trials they work on, see :mod:`common.ownership`."""
        return self.directory / "claims"

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
        """Return the directory in which this process has a trial's artefacts made before they count.

        No other process uses it: one that was killed may leave a worker that still writes for a second.
        """
        return self.artefacts(key).with_suffix(f".{os.getpid():x}-{self._mark}.part")

    def write(self, record: Mapping[str, Any]) -> None:
        """Put a finished trial's artefacts in their place, then its record: the record's rename is what counts."""
        final = self.artefacts(record["key"])
        staged = self.staging(record["key"])
        _remove(final)
        if staged.is_dir() and any(staged.iterdir()):
            os.replace(staged, final)
        else:
            _remove(staged)
        write_atomically(final.with_suffix(".json"), to_json(record, indent=1))

    def clear(self, key: str) -> None:
        """Remove what a process that is gone left of a trial: staged artefacts, and a record not yet renamed."""
        if _KEY.fullmatch(key):
            record = self.artefacts(key).with_suffix(".json")
            for left in (*record.parent.glob(f"{key}.*.part"), *record.parent.glob(f"{_prefix(record)}*")):
                _remove(left)

    def record(self, key: str) -> dict[str, Any] | None:
        """Return the record of one trial, as it is now, or None."""
        path = self.artefacts(key).with_suffix(".json")
        with suppress(FileNotFoundError):
            os.listdir(path.parent)  # noqa: PTH208  # after which network file systems look for its files afresh
        return _readable(str(path), key)

    def records(self, keys: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Return the records of `keys`, or all, in that order; an unreadable one is set aside as ``.damaged``."""
        if keys is None:
            keys = [path.stem for path in sorted((self.directory / "trials").glob("??/*.json"))]
        keys = list(keys)
        wrong = [key for key in keys if not isinstance(key, str) or not _KEY.fullmatch(key)]
        if wrong:
            raise UserError(f"{self.directory}: {wrong[0]!r} is no key of a trial, which has 64 hex digits")
        folder = str(self.directory / "trials")  # of ten thousand paths, objects take longer than the reading
        return [record for key in keys if (record := _readable(f"{folder}/{key[:2]}/{key}.json", key)) is not None]

    def log(self, line: str) -> None:
        """Append one line to ``run.log`` with the time."""
        import datetime

        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with open(self.directory / "run.log", "a", encoding="utf-8", opener=_to_append) as file:
            file.write(f"{now} {line}\n")  # one write, so that lines of several processes do not mix

    def tidy(self) -> None:
        """Remove what killed processes left of files outside ``trials/``; a younger one may still be written."""
        for folder in (self.directory, self.directory / "tables", self.directory / "plots"):
            for left in folder.glob(".*.*"):
                with suppress(FileNotFoundError):
                    if time.time() - left.lstat().st_mtime > _WRITTEN_S:
                        _remove(left)


def _readable(path: str, key: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = from_json(_content(path))  # half the time of json.loads
        reason = mistake(record)
        if reason is None and record["key"] == key:
            if record.get("sparsity") is None:  # it is from before there was pruning
                record["sparsity"] = 0.0
            return record
        reason = reason or "it is not this trial's"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise UserError(f"results: {path} cannot be read ({error.strerror}); its owner can allow it") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    aside = Path(path).with_suffix(".damaged")
    try:
        Path(path).rename(aside)
        done = f"set aside as {aside.name}; its trial counts as not run"
    except OSError as error:
        done = f"passed over, as it cannot be set aside ({error.strerror})"
    print(f"compare.py: warning: record {path} is damaged ({reason}): {done}", file=sys.stderr)
    return None


def _content(path: str) -> bytes:
    """Return a file's bytes."""
    with open(path, "rb", opener=_plain) as file:  # of ten thousand, Path objects take longer
        return file.read()


def _plain(path: str, flags: int) -> int:
    """Open what is a plain file: a link may lead out of the directory, and a device or a pipe may never end."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a plain file")
    return descriptor


def _to_append(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


def _remove(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a directory, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _object(path: Path, fields: Mapping[str, Any], fix: str) -> dict[str, Any]:
    """Return the JSON object of a run's own file, whose `fields` have values of these types.

    Raises
    ------
    UserError
        Where it is anything else, with `fix`.
    """
    try:
        found = json.loads(_content(str(path)))
        if isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in fields.items()):
            return found
        reason = f"not an object with {', '.join(fields)}"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    raise UserError(f"{path} is damaged ({reason}); {fix}")


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
