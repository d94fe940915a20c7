"""A table of cells as text, Markdown or LaTeX."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

HumanFormat = Literal["text", "markdown", "latex"]

DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One entry: its text, whether it is the best of its column, and a remark behind it."""

    text: str
    best: bool = False
    remark: str = ""


@dataclass(frozen=True)
class Column:
    """One column as it is printed; `keep` orders what goes first where the width does not suffice (lowest first)."""

    header: str
    cells: list[Cell]
    keep: int = 100
    right: bool = True


def lay_out(
    columns: Sequence[Column],
    head: Iterable[str | None],
    notes: Iterable[str],
    format: HumanFormat,
    width: int | None,
    file: str,
) -> str:
    """Print a table between the lines above it and the notes below it.

    Parameters
    ----------
    columns : none where there is nothing to tabulate.
    width : columns of the terminal; text that is wider loses its least important columns.
    file : where the reader finds the columns lost.
    """
    above, below = [text for text in head if text], list(notes)
    if format == "text":
        return _text(columns, above, below, width, file)
    rows = list(zip(*(column.cells for column in columns), strict=True))
    return (_markdown if format == "markdown" else _latex)(columns, rows, above, below)


def _text(columns: Sequence[Column], above: list[str], below: list[str], width: int | None, file: str) -> str:
    blocks = {column.header: _block(column) for column in columns}
    dropped: list[str] = []
    for column in sorted((column for column in columns if column.keep < 100), key=lambda column: column.keep):
        if width is None or sum(len(block[0]) + 2 for block in blocks.values()) - 2 <= width:
            break
        dropped.append(column.header)
        del blocks[column.header]
    if dropped:
        below = [*below, f"left out for width: {', '.join(dropped)}; all columns: {file}"]
    table = ["  ".join(line).rstrip() for line in zip(*blocks.values(), strict=True)]
    folded, notes = [_fold(text, width) for text in above], [_fold(text, width, "  ") for text in below]
    return "\n\n".join("\n".join(part) for part in (folded, table, notes) if part) + "\n"


def _fold(text: str, width: int | None, indent: str = "") -> str:
    """Break a line at spaces, and one whose parts are set apart by dots only between them."""
    if " · " in text:
        text = text.replace(" ", "\0").replace("\0·\0", " · ")
    folded = textwrap.fill(text, width or 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    return folded.replace("\0", " ")


def _block(column: Column) -> list[str]:
    """Return a column's lines, all of one width: header, rule, cells with their marks behind the aligned figures."""
    marks = [("*" if cell.best else "") + cell.remark for cell in column.cells]
    room = max(map(len, marks))
    texts = [cell.text for cell in column.cells]
    inner = max([len(column.header) - room, *map(len, texts)])
    lines = [(text.rjust(inner) if column.right else text.ljust(inner)) + mark.ljust(room)
             for text, mark in zip(texts, marks, strict=True)]  # fmt: skip
    header = (column.header.rjust if column.right and not room else column.header.ljust)(inner + room)
    return [header, "─" * (inner + room), *lines]


def _markdown(columns: Sequence[Column], rows: list[tuple[Cell, ...]], above: list[str], below: list[str]) -> str:
    def shown(cell: Cell) -> str:
        text = cell.text.replace("|", r"\|")
        return (f"**{text}**" if cell.best else text) + cell.remark

    table = ["| " + " | ".join(column.header for column in columns) + " |"] if columns else []
    table += ["|" + "|".join("---:" if column.right else ":---" for column in columns) + "|"] if columns else []
    table += ["| " + " | ".join(map(shown, row)) + " |" for row in rows]
    notes = [f"- {text}" for text in below]
    return "\n\n".join([*above, *("\n".join(part) for part in (table, notes) if part)]) + "\n"


LATEX = str.maketrans({
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$",
    "±": r"$\pm$", "≈": r"$\approx$", "†": r"\textdagger{}", "·": r"$\cdot$", DASH: "--",
})  # fmt: skip


def _latex(columns: Sequence[Column], rows: list[tuple[Cell, ...]], above: list[str], below: list[str]) -> str:
    def shown(cell: Cell) -> str:
        text = cell.text.translate(LATEX)
        return (rf"\textbf{{{text}}}" if cell.best else text) + cell.remark.translate(LATEX)

    table = []
    if columns:
        table = [rf"\begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in columns)}}}", r"\toprule"]
        table += [" & ".join(column.header.translate(LATEX) for column in columns) + r" \\", r"\midrule"]
        table += [*(" & ".join(map(shown, row)) + r" \\" for row in rows), r"\bottomrule", r"\end{tabular}"]
    lines = ["% needs booktabs", r"\begin{table}", r"\centering"]
    lines += [rf"\caption{{{' '.join(above).translate(LATEX)}}}", *table]
    lines += [rf"\par\footnotesize {text.translate(LATEX)}" for text in below]
    return "\n".join([*lines, r"\end{table}"]) + "\n"
