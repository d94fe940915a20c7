"""Progress on standard error: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self


def line(record: Mapping[str, Any], varying: Iterable[str] = ()) -> str:
    """Return one finished trial in one line, with the settings named `varying`."""
    backend = record["backend"] + (f"/{record['engine']}" if record["engine"] else "")
    share = "official split" if record["train_share"] is None else f"train share {record['train_share']:g}"
    settings = "".join(f"{name.replace('_', ' ')} {_short(record[name])}, " for name in varying)
    head = f"{backend} {record['architecture']}, {share}, {settings}seed {record['seed']}:"
    if record["status"] == "ok":
        on_validation = record["test_accuracy"] is None
        accuracy = record["val_accuracy"] if on_validation else record["test_accuracy"]
        return f"{head} {accuracy:.2%}{' of validation' * on_validation} in {record['trial_s']:.1f} s"
    lines = (record["error"] or "").strip().splitlines() or ["no message"]
    reason = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return f"{head} {record['status']}: {reason}"


def _short(value: object) -> str:
    return "off" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


class Progress:
    """Shows how far a run is, and how long it will still take at the pace so far."""

    def __init__(self, total: int, done: int, quiet: bool) -> None:
        self._total, self._done, self._first = total, done, done
        self._quiet, self._start = quiet, time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=self._total, completed=self._done, left="")
            self._bar.start()
        return self

    def skip(self, count: int, text: str | None = None) -> None:
        """Count trials that took this process no time: others ran them, or none can."""
        self._done += count
        self._first += count
        if text is not None:
            self.say(text)

    def say(self, text: str) -> None:
        """Print one line."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def advance(self, text: str) -> None:
        """Count one more finished trial, described by `text`."""
        self._done += 1
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
            self._bar.update(self._task, completed=self._done, left=self._left())
        else:
            width = len(str(self._total))
            print(f"[{self._done:{width}}/{self._total}] {text}; {self._left()}", file=sys.stderr, flush=True)

    def _left(self) -> str:
        pace = (time.monotonic() - self._start) / (self._done - self._first)
        return f"{duration(pace * (self._total - self._done))} left"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``48 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
