"""``compare.py`` itself: run a study, print its table, write its report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from commands import overview
from commands.arguments import Parser, add_conduct, megabytes, positive, seconds, terminal_width
from commands.settings import add_flags, given, plan

EXECUTORS = ("local", "dask", "slurm")

# Heavy modules are imported where they are used: ``--help`` must answer at once.
if TYPE_CHECKING:
    import pandas as pd

    from common.runner import Options
    from common.store import Run
    from common.trial import Record


def main(argv: Sequence[str]) -> int:
    """Run what is left of a study and return the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.scheduler is not None and arguments.executor != "dask":
        parser.error("--scheduler is of a Dask cluster; give --executor dask with it")
    over = given(arguments)
    # what stands on the command line was given by the user; --arch replaces all that a study names
    allow_code = arguments.allow_code or arguments.arch is not None
    work = plan(arguments.study, over, arguments.data_dir, arguments.workers, allow_code)
    if work.note:
        print(f"compare.py: warning: {work.note}", file=sys.stderr)
    options = _options(arguments)
    if arguments.dry_run:
        from common.estimate import summary

        print(summary(work, options))
        if options.executor == "slurm":
            from common.runner import batch_script

            print(batch_script(work, options))
        return 0
    from common.runner import execute, failures

    run, records = execute(work, options)
    if records:
        show(run, records, arguments.json, work.note)
        if not arguments.no_report:
            write_report(run, arguments.data_dir, options.quiet)
    if left := len(work.trials) - len(records):
        total = len(work.trials)
        print(
            f"compare.py: {left} of {total} trials are not begun; the same command goes on with them", file=sys.stderr
        )
    return 1 if left or failures(records) else 0


def _parser() -> Parser:
    parser = Parser(
        "samenet: train the same networks in scikit-learn, Keras and PyTorch, and print one table.",
        epilog=overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    study = parser.add_argument_group("what is trained (each value given here replaces the study's)")
    study.add_argument(
        "--study", default="quick", metavar="NAME", help="a shipped study or a JSON file (default: quick)"
    )
    add_flags(study)
    how = parser.add_argument_group("how it is run")
    how.add_argument("--workers", type=positive, default=1, metavar="N", help="trials side by side (marked contended)")
    how.add_argument("--executor", choices=EXECUTORS, default="local", help="where trials run: " + ", ".join(EXECUTORS))
    how.add_argument("--scheduler", metavar="ADDRESS", help="of a running Dask cluster (default: one is started here)")
    how.add_argument("--batch-trials", type=positive, default=1, metavar="N", help="train up to N networks as one")
    how.add_argument("--memory-limit", type=megabytes, metavar="MB", help="memory a trial's process may take")
    how.add_argument("--max-time", type=seconds, metavar="S", help="seconds the run may take; the rest is for the next")
    how.add_argument("--isolate", action="store_true", help="every trial in a process of its own")
    how.add_argument("--dry-run", action="store_true", help="print the number of trials and the time they may take")
    how.add_argument("--track", action="append", default=[], metavar="NAME", help="tensorboard, mlflow; repeatable")
    how.add_argument("--retry-failed", action="store_true", help="run again what failed, timed out or diverged")
    add_conduct(how, "run")
    parser.add_places()
    return parser


def _options(arguments: argparse.Namespace) -> Options:
    from common.runner import Options

    return Options(
        results=arguments.results,
        data_dir=arguments.data_dir,
        workers=arguments.workers,
        executor=arguments.executor,
        scheduler=arguments.scheduler,
        timeout_s=arguments.timeout,
        memory_limit_mb=arguments.memory_limit,
        max_time_s=arguments.max_time,
        isolate=arguments.isolate,
        batch_trials=arguments.batch_trials,
        retry_failed=arguments.retry_failed,
        overwrite=arguments.overwrite,
        track=list(dict.fromkeys(arguments.track)),
        quiet=arguments.quiet or arguments.json,
    )


def write_report(run: Run, data_dir: str | None, quiet: bool) -> None:
    """Write a run's plots and page, and say where."""
    from common import report
    from common.results import Results

    if not quiet:
        print("plots and report are being made ...", file=sys.stderr)
    print(f"report: {report.write_report(Results(run), data_dir)}", file=sys.stderr)


def show(run: Run, records: Sequence[Record], as_json: bool, note: str | None) -> None:
    """Write a run's tables and print one, or all of it as JSON."""
    from common import ranking, store, tables

    trials, over = store.table(records), run.study()["recommend"]
    rows = tables.write_tables(trials, run.directory / "tables", run.base())
    if as_json:
        print(_document(run, records, rows))
        return
    print(tables.render(rows, "text", note=note, width=terminal_width()))
    if over:
        print(f"Recommended by validation accuracy (the test set is not looked at), over {over}:")
        print(ranking.recommend(rows, trials, over) + "\n")
    print(f"records, tables and log: {run.directory}")


def _document(run: Run, records: Sequence[Record], rows: pd.DataFrame) -> str:
    from common import store

    rows = rows.astype(object)
    return store.to_json(
        {
            "run": run.name,
            "directory": str(run.directory),
            "dataset": "+".join(run.study()["datasets"]),
            "trials": records,
            "table": rows.where(rows.notna(), None).to_dict(orient="records"),
        }
    )
