"""``compare.py`` itself: run a study, print its table, write its report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from commands import overview
from commands.arguments import Parser, megabytes, number, positive, seconds, share, terminal_width, whole
from commands.settings import SETTINGS, plan

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
    over = {flag: value for flag in (*SETTINGS, "seeds") if (value := getattr(arguments, flag)) is not None}
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
        _show(run, records, arguments.json, work.note)
        if not arguments.no_report:
            if not options.quiet:
                print("plots and report are being made ...", file=sys.stderr)
            _write_report(run, arguments.data_dir)
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
    study.add_argument("--backend", action="append", metavar="NAME", help="only this backend; repeatable")
    study.add_argument("--engine", action="append", metavar="NAME", help="Keras's engine: tensorflow, torch, jax")
    study.add_argument(
        "--arch", nargs="+", metavar="ARCH", help="ffn:64, ffn:16x64:sigmoid, cnn, your own FILE.py:callable"
    )
    study.add_argument("--allow-code", action="store_true", help="run the module:callable that a study file names")
    study.add_argument("--split", nargs="+", type=share, metavar="SHARE", help="train shares, or official")
    study.add_argument("--seeds", type=positive, metavar="N", help="number of seeds: 0 to N - 1")
    study.add_argument("--epochs", nargs="+", type=whole, metavar="N")
    study.add_argument("--batch-size", nargs="+", type=whole, metavar="N")
    study.add_argument("--optimizer", nargs="+", metavar="NAME", help="sgd, adam, adamw")
    study.add_argument("--learning-rate", nargs="+", type=number, metavar="RATE")
    study.add_argument(
        "--dataset", nargs="+", metavar="NAME", help="auto, mnist, fashion_mnist, cifar10, digits, FILE.npz"
    )
    study.add_argument("--rows", nargs="+", type=whole, metavar="N", help="use N rows of the data, drawn by class")
    study.add_argument("--protocol", nargs="+", metavar="NAME", help="matched, native (default: matched)")
    study.add_argument("--loop", nargs="+", metavar="NAME", help="tuned, idiomatic (default: tuned)")
    study.add_argument("--device", nargs="+", metavar="NAME", help="cpu, cuda, auto (default: cpu)")
    study.add_argument("--precision", nargs="+", metavar="NAME", help="float32, float64, bfloat16 (default: float32)")
    study.add_argument("--threads", nargs="+", type=whole, metavar="N", help="threads a trial (default: all cores)")
    how = parser.add_argument_group("how it is run")
    how.add_argument("--workers", type=positive, default=1, metavar="N", help="trials side by side (marked contended)")
    how.add_argument("--executor", choices=EXECUTORS, default="local", help="where trials run: " + ", ".join(EXECUTORS))
    how.add_argument("--scheduler", metavar="ADDRESS", help="of a running Dask cluster (default: one is started here)")
    how.add_argument("--batch-trials", type=positive, default=1, metavar="N", help="train up to N networks as one")
    how.add_argument("--timeout", type=seconds, metavar="S", help="seconds a trial may take")
    how.add_argument("--memory-limit", type=megabytes, metavar="MB", help="memory a trial's process may take")
    how.add_argument("--max-time", type=seconds, metavar="S", help="seconds the run may take; the rest is for the next")
    how.add_argument("--isolate", action="store_true", help="every trial in a process of its own")
    how.add_argument("--dry-run", action="store_true", help="print the number of trials and the time they may take")
    how.add_argument("--track", action="append", default=[], metavar="NAME", help="tensorboard, mlflow; repeatable")
    how.add_argument("--retry-failed", action="store_true", help="run again what failed, timed out or diverged")
    how.add_argument("--no-report", action="store_true", help="no plots and no report.html at the end")
    how.add_argument("--overwrite", action="store_true", help="begin the run again, deleting its records")
    how.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.add_json()
    parser.add_data_dir()
    parser.add_results()
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


def _write_report(run: Run, data_dir: str | None) -> None:
    from common.report import write_report
    from common.results import Results

    print(f"report: {write_report(Results(run), data_dir)}", file=sys.stderr)


def _show(run: Run, records: Sequence[Record], as_json: bool, note: str | None) -> None:
    from common import ranking, store, tables

    trials, over = store.table(records), run.study()["recommend"]
    rows = tables.write_tables(trials, run.directory / "tables")
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
