#!/usr/bin/env python3
"""samenet's command line: train the same networks in scikit-learn, Keras and PyTorch, and print one table."""

from __future__ import annotations

import argparse
import gc
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# Heavy modules are imported where they are used: ``--help`` must answer at once.
if TYPE_CHECKING:
    import pandas as pd

    from common.runner import Options
    from common.store import Run
    from common.studies import Plan
    from common.trial import Record

FORMATS = ("text", "markdown", "csv", "latex")
LISTS = ("backends", "architectures", "protocols", "studies", "datasets", "runs")

_COMMANDS = """\
other commands (each has its own --help):
  list [WHAT]       backends, architectures, protocols, studies, datasets, runs
  table RUN         print a run's table again: in another format, ranked, or two backends compared
  parity            train the same network in every framework, and print the largest difference
  claims RUN...     each published claim beside what was measured, and whether it holds
  profile ARCH...   parameters, FLOPs, memory and storage by layer
"""

_DATA_DIR_HELP = "folder of data sets (default: $SAMENET_DATA_DIR or the cache)"

_LEAVES = {
    "backend": "backend",
    "engine": "engine",
    "arch": "architecture",
    "split": "train_share",
    "dataset": "dataset",
    "rows": "rows",
    "device": "device",
    "precision": "precision",
    "protocol": "protocol",
    "loop": "loop",
    "threads": "threads",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "optimizer": "training.optimizer",
    "learning_rate": "training.learning_rate",
}
"""Flags that lay their values over the study's, and the field each one sets."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 all went well, 1 a trial failed, 2 a mistake in usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {"list": _list, "table": _table, "profile": _profile, "parity": _parity, "claims": _claims}
    command = commands.get(arguments[0], _run) if arguments else _run
    try:
        status = command(arguments if command is _run else arguments[1:])
        sys.stdout.flush()  # here, where a reader that has gone is no news
        return status
    except KeyboardInterrupt as stop:
        print("compare.py: stopped; the same command goes on where it was", file=sys.stderr)
        return int(getattr(stop, "status", 130))
    except BrokenPipeError:  # the reader of our output has gone: `compare.py table RUN | head`
        _silence()
        return 0
    except Exception as error:
        from config import UserError

        if not isinstance(error, UserError):
            raise
        for line in str(error).splitlines():
            print(f"compare.py: {line}", file=sys.stderr)
        return 2


def _silence() -> None:
    """Send what is still to be flushed nowhere, so that nothing is said of it at exit."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line, as every other mistake is said, with the nearest spelling."""

    def error(self, message: str) -> NoReturn:
        from config import UserError, nearest

        hint = "."
        if message.startswith("unrecognized arguments: "):
            known = [*self._option_string_actions, "list", "table", "profile", "parity", "claims"]
            hint = nearest(message.split()[2].partition("=")[0], known)
        elif choices := re.fullmatch(r".*invalid choice: '(.*)' \(choose from (.*)\)", message):
            hint = nearest(choices[1], re.findall(r"'([^']+)'", choices[2]))
        raise UserError(f"{message}{hint} See {self.prog} --help")


def _run_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="compare.py",
        description=__doc__,
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    study.add_argument("--split", nargs="+", type=_share, metavar="SHARE", help="train shares, or official")
    study.add_argument("--seeds", type=_positive, metavar="N", help="number of seeds: 0 to N - 1")
    study.add_argument("--epochs", nargs="+", type=_whole, metavar="N")
    study.add_argument("--batch-size", nargs="+", type=_whole, metavar="N")
    study.add_argument("--optimizer", nargs="+", metavar="NAME", help="sgd, adam, adamw")
    study.add_argument("--learning-rate", nargs="+", type=_number, metavar="RATE")
    study.add_argument(
        "--dataset", nargs="+", metavar="NAME", help="auto, mnist, fashion_mnist, cifar10, digits, FILE.npz"
    )
    study.add_argument("--rows", nargs="+", type=_whole, metavar="N", help="use N rows of the data, drawn by class")
    study.add_argument("--protocol", nargs="+", metavar="NAME", help="matched, native (default: matched)")
    study.add_argument("--loop", nargs="+", metavar="NAME", help="tuned, idiomatic (default: tuned)")
    study.add_argument("--device", nargs="+", metavar="NAME", help="cpu, cuda, auto (default: cpu)")
    study.add_argument("--precision", nargs="+", metavar="NAME", help="float32, float64, bfloat16 (default: float32)")
    study.add_argument("--threads", nargs="+", type=_whole, metavar="N", help="threads a trial (default: all cores)")
    how = parser.add_argument_group("how it is run")
    how.add_argument("--data-dir", metavar="DIR", help=_DATA_DIR_HELP)
    how.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    how.add_argument("--workers", type=_positive, default=1, metavar="N", help="trials side by side (marked contended)")
    how.add_argument("--batch-trials", type=_positive, default=1, metavar="N", help="train up to N networks as one")
    how.add_argument("--timeout", type=_seconds, metavar="S", help="seconds a trial may take")
    how.add_argument("--memory-limit", type=_megabytes, metavar="MB", help="memory a trial's process may take")
    how.add_argument(
        "--max-time", type=_seconds, metavar="S", help="seconds the run may take; the rest is for the next"
    )
    how.add_argument("--isolate", action="store_true", help="every trial in a process of its own")
    how.add_argument("--dry-run", action="store_true", help="print the number of trials and the time they may take")
    how.add_argument("--retry-failed", action="store_true", help="run again what failed, timed out or diverged")
    how.add_argument("--overwrite", action="store_true", help="begin the run again, deleting its records")
    _add_output(parser, quiet=True)
    return parser


def _add_output(parser: argparse.ArgumentParser, quiet: bool) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    if quiet:
        parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _share(text: str) -> float | str:
    if text == "official":
        return text
    with suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a train share; write a number between 0 and 1, such as 0.8, or official"
    )


def _whole(text: str) -> int:
    with suppress(ValueError):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; write one such as 10")


def _number(text: str) -> float:
    with suppress(ValueError):
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number; write one such as 0.001")


def _positive(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few; write a whole number of at least 1")
    return value


def _seconds(text: str) -> float:
    return _above_zero(text, "seconds", 600)


def _megabytes(text: str) -> float:
    return _above_zero(text, "megabytes", 4000)


def _above_zero(text: str, unit: str, such_as: int) -> float:
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0; write one such as {such_as}")


def _run(argv: Sequence[str]) -> int:
    arguments = _run_parser().parse_args(argv)
    plan = _plan(arguments)
    if plan.note:
        print(f"compare.py: warning: {plan.note}", file=sys.stderr)
    options = _options(arguments)
    if arguments.dry_run:
        from common.estimate import summary

        print(summary(plan, options))
        return 0
    from common.runner import execute, failures

    run, records = execute(plan, options)
    if records:
        _show(run, records, arguments.json, plan.note)
    if left := len(plan.trials) - len(records):
        total = len(plan.trials)
        print(
            f"compare.py: {left} of {total} trials are not begun; the same command goes on with them", file=sys.stderr
        )
    return 1 if left or failures(records) else 0


def _plan(arguments: argparse.Namespace) -> Plan:
    import os

    import backends
    from common import studies

    given: dict[str, list[Any]] = {
        leaf: values if isinstance(values, list) else [values]
        for flag, leaf in _LEAVES.items()
        if (values := getattr(arguments, flag)) is not None
    }
    if arguments.seeds is not None:
        given["seed"] = list(range(arguments.seeds))
    cores = max(1, (os.cpu_count() or 1) // arguments.workers)
    # what stands on the command line was given by the user; --arch replaces all that a study names
    vocabulary = backends.vocabulary(allow_code=arguments.allow_code or arguments.arch is not None)
    return studies.plan(studies.read(arguments.study), given, vocabulary, arguments.data_dir, {"threads": [cores]})


def _options(arguments: argparse.Namespace) -> Options:
    from common.runner import Options

    return Options(
        results=arguments.results,
        data_dir=arguments.data_dir,
        workers=arguments.workers,
        timeout_s=arguments.timeout,
        memory_limit_mb=arguments.memory_limit,
        max_time_s=arguments.max_time,
        isolate=arguments.isolate,
        batch_trials=arguments.batch_trials,
        retry_failed=arguments.retry_failed,
        overwrite=arguments.overwrite,
        quiet=arguments.quiet or arguments.json,
    )


def _show(run: Run, records: Sequence[Record], as_json: bool, note: str | None) -> None:
    from common import ranking, store, tables

    trials, over = store.table(records), run.study()["recommend"]
    rows = tables.write_tables(trials, run.directory / "tables")
    if as_json:
        print(_document(run, records, rows))
        return
    print(tables.render(rows, "text", note=note, width=_width()))
    if over:
        print(f"Recommended by validation accuracy (the test set is not looked at), over {over}:")
        print(ranking.recommend(rows, trials, over) + "\n")
    print(f"records, tables and log: {run.directory}")


def _width() -> int | None:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


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


def _list(argv: Sequence[str]) -> int:
    parser = _Parser(prog="compare.py list", description="Print what there is.", allow_abbrev=False)
    parser.add_argument("what", nargs="?", choices=LISTS, help="default: everything")
    _add_data_and_results(parser)
    arguments = parser.parse_args(argv)
    from common import listing

    for what in [arguments.what] if arguments.what else LISTS:
        print(listing.text(what, arguments.data_dir, arguments.results))
    return 0


def _add_data_and_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", metavar="DIR", help=_DATA_DIR_HELP)
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")


def _table(argv: Sequence[str]) -> int:
    parser = _Parser(prog="compare.py table", description="Print a run's table.", allow_abbrev=False)
    parser.add_argument("run", help="a run's name in the results folder, or its directory")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--rank", metavar="WEIGHTS", help="such as test_accuracy=0.4,fit_s=0.2,parameters=0.4")
    parser.add_argument("--compare", metavar="A:B", help="two backends or architectures, such as sklearn:keras/jax")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    arguments = parser.parse_args(argv)
    from common import ranking, store, summary, tables

    if arguments.rank is not None and arguments.compare is not None:
        parser.error("--rank and --compare are two reports; give one of them")
    weights = ranking.parse_weights(arguments.rank) if arguments.rank is not None else None
    run = store.Run.find(arguments.run, arguments.results)
    records, width = store.load(run), _width()
    if arguments.compare is not None:
        from common import pairs, verdicts

        sides = pairs.parse_sides(arguments.compare, records)
        lines = pairs.compare(records, *sides, run.artefacts)
        print(verdicts.render_pairs(lines, *sides, arguments.format, width=width), end="")
        return 0
    rows = summary.summarize(records)
    if weights is None:
        print(tables.render(rows, arguments.format, note=run.study()["note"], width=width), end="")
    else:
        print(tables.render_ranking(ranking.rank(rows, weights), arguments.format, width=width), end="")
    return 0


def _profile(argv: Sequence[str]) -> int:
    parser = _Parser(
        prog="compare.py profile",
        description="Count a network's costs layer by layer, without training.",
        allow_abbrev=False,
    )
    parser.add_argument("architectures", nargs="+", metavar="ARCH", help="such as ffn:64 or attention_5k")
    parser.add_argument("--backend", default="torch", metavar="NAME", help="default: torch")
    parser.add_argument("--engine", metavar="NAME", help="Keras's engine")
    parser.add_argument("--input-shape", type=_shape, default=(28, 28, 1), metavar="HxWxC", help="default: 28x28x1")
    parser.add_argument("--classes", type=_positive, default=10, metavar="N", help="default: 10")
    arguments = parser.parse_args(argv)
    from common import profiling

    print(profiling.text(arguments))
    return 0


def _parity(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="compare.py parity",
        description="Train the same networks in every framework from the same weights and batches, and compare them.",
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", default="auto", metavar="NAME", help="default: auto")
    parser.add_argument("--data-dir", metavar="DIR", help=_DATA_DIR_HELP)
    parser.add_argument(
        "--float32", action="store_true", help="show how fast float32 drifts apart; nothing is asserted"
    )
    arguments = parser.parse_args(argv)
    import backends
    from common import data, parity

    dataset = data.load(arguments.dataset, arguments.data_dir)
    source = arguments.dataset if arguments.dataset.endswith(".npz") else dataset.name
    precision = "float32" if arguments.float32 else "float64"
    verdicts = []
    for verdict in parity.run(parity.CASES, dataset, source, arguments.data_dir, backends.vocabulary(), precision):
        verdicts.append(verdict)
        print(f"[{len(verdicts)}/{len(parity.CASES)}] {verdict.case.name}", file=sys.stderr, flush=True)
    print(f"{dataset.name}, {precision}: the largest difference of any two frameworks after n steps\n")
    print(parity.table(verdicts))
    return 0 if all(verdict.holds for verdict in verdicts) else 1


def _claims(argv: Sequence[str]) -> int:
    parser = _Parser(
        prog="compare.py claims",
        description="Print each published claim beside what runs measured, and whether it holds.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's name in the results folder, or its directory")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    arguments = parser.parse_args(argv)
    import pandas as pd

    from common import claims, store, tables

    records = [store.load(store.Run.find(name, arguments.results)) for name in arguments.runs]
    found = claims.verdicts(pd.concat(records, ignore_index=True))
    if arguments.format == "csv":
        print(tables.to_csv(pd.DataFrame(claims.to_rows(found))), end="")
    else:
        print(claims.render(found, arguments.format, _width()), end="")
    return 0


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape; write height x width x channels, such as 28x28x1")
    return int(parts[0]), int(parts[1]), int(parts[2])


if __name__ == "__main__":
    # the records of 10,000 trials are a million objects and no garbage, which the collector would keep walking through
    gc.set_threshold(100_000, 20, 20)
    raise SystemExit(main())
