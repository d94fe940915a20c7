"""Everything in a run's directory that can be made again from its records: tables, plots, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from common import data
from common.data import Dataset
from common.friedman import diagram
from common.report import choice, drawing, searches
from common.report.networks import networks
from common.report.pictures import Missing, Picture, pictures
from common.store import write_atomically
from config import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from common.results import Results


def rebuild(results: Results, data_dir: str | None) -> Path:
    """Write all of a run's directory but its records: ``study.json``, tables, plots and report; return the report's path."""
    from common import environment, store, tables

    directory, records = results.run.directory, results.records
    if not (directory / "study.json").exists():
        write_atomically(directory / "study.json", store.to_json(results.study, indent=1))
    if not (directory / "environment.json").exists() and records:
        write_atomically(directory / "environment.json", store.to_json(environment.of_record(records[-1]), indent=1))
    tables.write_tables(store.table(records), directory / "tables", results.run.base())
    return write_report(results, data_dir)


def write_report(results: Results, data_dir: str | None) -> Path:
    """Write ``plots/`` and ``report.html``; return the latter's path.

    Parameters
    ----------
    data_dir : the folder of data sets, for the pictures that show images.
    """
    from common.report.page import page

    plots = results.run.directory / "plots"
    shown, missing = [], []
    with ProcessPoolExecutor(1, get_context("spawn")) as another:  # half of the drawing is done on another core
        saved = [another.submit(drawing.save_chart, chart, plots / chart.name) for chart in results.charts.values()]
        for picture in _pictures(results, data_dir):
            if isinstance(picture, Missing):
                missing.append(picture.reason)
                continue
            shown.append((picture.title, picture.caption, drawing.save(picture.draw(), plots / picture.name)))
        for one in saved:
            one.result()
    path = results.run.directory / "report.html"
    write_atomically(path, page(results, shown, missing))
    return path


def _pictures(results: Results, data_dir: str | None) -> Iterator[Picture | Missing]:
    ranks = diagram(results.rows) if len(results.rows) else None
    if ranks is not None:
        text = "average rank over data sets, 1 is best; a line joins what Nemenyi's test does not tell apart at 5%."
        yield Picture("critical-difference", "ranks over data sets", text, lambda: ranks)
    yield from searches.pictures(results)
    chosen = choice.best(results)
    if not chosen:
        return
    try:
        dataset = _dataset(chosen[0].records[0], data_dir)
    except UserError as error:
        yield Missing(f"Pictures of images and of trained networks are left out: {error}")
        yield from pictures(results, chosen, None)
        return
    with ThreadPoolExecutor(1) as thread:  # while pictures are drawn here, models are opened in other processes
        opened = thread.submit(lambda: list(networks(results, chosen, dataset, data_dir)))
        yield from pictures(results, chosen, dataset)
        yield from opened.result()


def _dataset(record: Mapping[str, Any], data_dir: str | None) -> Dataset:
    """Return the data set of a trial.

    Raises
    ------
    UserError
        Where it is not at hand, or no longer the same.
    """
    found = data.load(record["dataset"], data_dir)
    if found.sha256 != record["data_sha256"]:
        raise UserError(f"{record['dataset']} is not what it was when the trials ran")
    return found
