"""What the commands' parsers share: how a mistake is said, the types of values, and common arguments."""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from commands import COMMANDS


class Parser(argparse.ArgumentParser):
    """Says a mistake in one line, as every other mistake is said, with the nearest spelling."""

    def __init__(self, description: str, command: str = "", **settings: Any) -> None:
        prog = f"compare.py {command}".rstrip()
        super().__init__(prog=prog, description=description, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise what the command line prints in one line."""
        from config import UserError, nearest

        hint = "."
        if message.startswith("unrecognized arguments: "):
            known = [*self._option_string_actions, *COMMANDS]
            first = message.removeprefix("unrecognized arguments: ").partition(" ")[0]
            hint = nearest(first.partition("=")[0], known)
        elif choices := re.fullmatch(r".*invalid choice: '(.*)' \(choose from (.*)\)", message):
            hint = nearest(choices[1], re.findall(r"'([^']+)'", choices[2]))
        raise UserError(f"{message}{hint} See {self.prog} --help")

    def add_run(self, name: str = "run", **settings: Any) -> None:
        """Take a run, or several, and the folder in which they are looked for."""
        self.add_argument(name, help="a run's name in the results folder, or its directory", **settings)
        self.add_results()

    def add_results(self) -> None:
        """Take the folder of runs."""
        self.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")

    def add_data_dir(self) -> None:
        """Take the folder of data sets."""
        text = "folder of data sets (default: $SAMENET_DATA_DIR or the cache)"
        self.add_argument("--data-dir", metavar="DIR", help=text)

    def add_format(self, **settings: Any) -> None:
        """Take the format of a printed table."""
        self.add_argument("--format", choices=("text", "markdown", "csv", "latex"), default="text", **settings)

    def add_json(self) -> None:
        """Take the choice of one JSON document."""
        self.add_argument("--json", action="store_true", help="print one JSON document instead of the table")

    def add_places(self) -> None:
        """Take what a run prints, and where it reads and writes."""
        self.add_json()
        self.add_data_dir()
        self.add_results()


def add_conduct(group: argparse._ArgumentGroup, what: str) -> None:
    """Take how a run, or what else `what` says, is conducted."""
    group.add_argument("--timeout", type=seconds, metavar="S", help="seconds a trial may take")
    group.add_argument("--no-report", action="store_true", help="no plots and no report.html at the end")
    group.add_argument("--overwrite", action="store_true", help=f"begin the {what} again, deleting its records")
    group.add_argument("--quiet", action="store_true", help="no progress on standard error")


def share(text: str) -> float | str:
    """Read a train share, or ``official``."""
    if text == "official":
        return text
    with suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a train share; write a number between 0 and 1, such as 0.8, or official"
    )


def whole(text: str) -> int:
    """Read a whole number."""
    with suppress(ValueError):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; write one such as 10")


def number(text: str) -> float:
    """Read a number."""
    with suppress(ValueError):
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number; write one such as 0.001")


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few; write a whole number of at least 1")
    return value


def seconds(text: str) -> float:
    """Read seconds above 0."""
    return _above_zero(text, "seconds", 600)


def megabytes(text: str) -> float:
    """Read megabytes above 0."""
    return _above_zero(text, "megabytes", 4000)


def _above_zero(text: str, unit: str, such_as: int) -> float:
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0; write one such as {such_as}")


def port(text: str) -> int:
    """Read a port, 0 for a free one."""
    value = whole(text)
    if not 0 <= value < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text} is not a port; write a number from 1 to 65535, or 0 for a free one")
    return value


def shape(text: str) -> tuple[int, int, int]:
    """Read the shape of images."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape; write height x width x channels, such as 28x28x1")
    return int(parts[0]), int(parts[1]), int(parts[2])


def terminal_width() -> int | None:
    """Return the terminal's columns, or None where output goes elsewhere."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
