"""The summary as a page shows it: the cells of the printed table, with the values that they are sorted by."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from common import tables
from common.layout import Column
from common.report.measures import by_backend
from common.summary import CONVERGENCE, METRICS

HIDDEN = {"F1 %", "log loss", "epochs", "epoch s", "samples/s", "model kB", "first step s",
          *(figure.header for figure in tables.FIGURES if figure.column in CONVERGENCE)}  # fmt: skip
"""Columns that a reader has to ask for."""

LOWER_FIRST = {figure.header for figure in tables.FIGURES if figure.metric and not METRICS[figure.metric].higher}
"""Figures of which a first click should show the lowest."""


def board(rows: pd.DataFrame) -> dict[str, Any]:
    """Return a table for the page: ``columns`` and, a row a configuration, ``cells`` and ``values`` to sort by.

    Parameters
    ----------
    rows : a summary's rows of which at least one seed ended well, numbered from 0.
    """
    columns = tables.columns(rows) if len(rows) else []
    raw = {figure.header: rows[figure.column] for figure in tables.FIGURES}
    heads = [
        {"label": column.header, "figure": column.header in raw, "hidden": column.header in HIDDEN,
         "lower": column.header in LOWER_FIRST}
        for column in columns
    ]  # fmt: skip
    cells = zip(*([[cell.text, cell.best, cell.remark] for cell in column.cells] for column in columns), strict=True)
    values = zip(*(_values(column, raw) for column in columns), strict=True)
    names = zip(by_backend(rows), rows["architecture"], strict=True)
    found = [
        {"backend": backend, "architecture": str(name), "cells": texts, "values": sorted_by}
        for (backend, name), texts, sorted_by in zip(names, cells, values, strict=True)
    ]
    return {"columns": heads, "rows": found}


def _values(column: Column, raw: Mapping[str, pd.Series[Any]]) -> list[float | str | None]:
    """Return what a column is sorted by: its figures, null where not measured, or its texts."""
    if column.header not in raw:
        return [cell.text for cell in column.cells]
    return [None if pd.isna(value) else float(value) for value in raw[column.header]]


def html_table(rows: pd.DataFrame) -> str:
    """Return the printed table as HTML, for a notebook."""
    columns = tables.columns(rows) if len(rows) else []
    head = "".join(f"<th>{html.escape(column.header)}</th>" for column in columns)
    lines = []
    for cells in zip(*(column.cells for column in columns), strict=True):
        texts = (f"<b>{html.escape(cell.text)}</b>" if cell.best else html.escape(cell.text) for cell in cells)
        marked = (f"<td>{text}{html.escape(cell.remark)}</td>" for text, cell in zip(texts, cells, strict=True))
        lines.append(f"<tr>{''.join(marked)}</tr>")
    notes = "".join(f"<li>{html.escape(text)}</li>" for text in tables.notes(rows))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table><ul>{notes}</ul>"
