#!/usr/bin/env python3
"""samenet's command line: train the same networks in scikit-learn, Keras and PyTorch, and print one table.

From Python, the same: :func:`load_dataset`, :func:`run_study`, :func:`load_run`; and any backend as a scikit-learn
estimator, :class:`common.estimator.FrameworkClassifier`.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# Heavy modules are imported where they are used: ``--help`` must answer at once.
if TYPE_CHECKING:
    import pandas as pd

    from common.data import Dataset
    from common.results import Results
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
  report RUN        plots and report.html, made again from the records
  claims RUN...     each published claim beside what was measured, and whether it holds
  demo RUN          draw digits on a page on this machine, and see the run's models read them
  export RUN        trained models as ONNX, checked against their frameworks; or that of one trial
  predict MODEL IMAGE...  classify pictures by an exported model alone
  parity            train the same network in every framework, and print the largest difference
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


def load_dataset(name: str = "auto", data_dir: str | None = None) -> Dataset:
    """Return a data set: ``images`` (n, height, width, channels) as they come, ``labels`` (n,), ``class_names``.

    Parameters
    ----------
    name : ``auto`` (MNIST, or the bundled digits where it is not to be had), ``mnist``, ``fashion_mnist``, ``cifar10``,
        ``digits``, or the path of a ``.npz`` file with ``X`` and ``y``.
    data_dir : folder of data sets; by default ``$SAMENET_DATA_DIR``, or the user's cache.

    Raises
    ------
    config.UserError
        Where it is neither there nor to be had, or damaged.
    """
    from common import data

    return data.load(name, data_dir)


def run_study(
    study: str | Mapping[str, Any] = "quick",
    *,
    results: str | Path = "results",
    data_dir: str | None = None,
    workers: int = 1,
    quiet: bool = False,
    **over: Any,
) -> Results:
    """Run what is left of a study, as the command line does, and return its results.

    Parameters
    ----------
    study : a shipped study's name, the path of a study file, or what would stand in one.
    results : the folder of runs. The same call again trains nothing that is finished.
    workers : trials side by side; their times are marked contended.
    quiet : no progress on standard error.
    **over : what replaces the study's values, named as the command line's flags: ``backend``, ``engine``, ``arch``,
        ``split``, ``seeds`` (a number), ``epochs``, ``batch_size``, ``optimizer``, ``learning_rate``, ``dataset``,
        ``rows``, ``protocol``, ``loop``, ``device``, ``precision``, ``threads``; each a value or a list of them.

    Raises
    ------
    config.UserError
        For a mistake in the study, in `over` or in the data.
    """
    from common.results import Results
    from common.runner import Options, execute

    plan = _plan(study, over, data_dir, workers, allow_code="arch" in over or not isinstance(study, str))
    run, _ = execute(plan, Options(Path(results), data_dir, workers, quiet=quiet))
    return Results(run)


def load_run(run: str | Path, results: str | Path = "results") -> Results:
    """Return what a run measured: ``trials`` and ``summary`` as DataFrames, ``charts``, ``plot(name)``.

    Parameters
    ----------
    run : its name in the folder `results`, or its directory.

    Raises
    ------
    config.UserError
        Where there is none, with the nearest name.
    """
    from common.results import Results
    from common.store import Run

    return Results(Run.find(str(run), Path(results)))


def __getattr__(name: str) -> Any:
    if name != "FrameworkClassifier":
        raise AttributeError(f"module 'compare' has no attribute {name!r}")
    from common.estimator import FrameworkClassifier  # scikit-learn takes a second to import

    return FrameworkClassifier


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 all went well, 1 a trial failed, 2 a mistake in usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = _commands().get(arguments[0], _run) if arguments else _run
    try:
        status = command(arguments if command is _run else arguments[1:])
        sys.stdout.flush()  # here, where a reader that has gone is no news
        return status
    except KeyboardInterrupt:
        print("compare.py: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
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


def _commands() -> dict[str, Callable[[Sequence[str]], int]]:
    return {
        "list": _list,
        "table": _table,
        "report": _report,
        "claims": _claims,
        "demo": _demo,
        "export": _export,
        "predict": _predict,
        "parity": _parity,
        "profile": _profile,
    }


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
            known = [*self._option_string_actions, *_commands()]
            hint = nearest(message.split()[2].partition("=")[0], known)
        elif choices := re.fullmatch(r".*invalid choice: '(.*)' \(choose from (.*)\)", message):
            hint = nearest(choices[1], re.findall(r"'([^']+)'", choices[2]))
        raise UserError(f"{message}{hint} See {self.prog} --help")


def _run_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="compare.py",
        description=(__doc__ or "").partition("\n")[0],
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
    how.add_argument("--isolate", action="store_true", help="every trial in a process of its own")
    how.add_argument("--dry-run", action="store_true", help="print the number of trials and the time they may take")
    how.add_argument("--track", action="append", default=[], metavar="NAME", help="tensorboard, mlflow; repeatable")
    how.add_argument("--retry-failed", action="store_true", help="run again what failed, timed out or diverged")
    how.add_argument("--no-report", action="store_true", help="no plots and no report.html at the end")
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
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0; write one such as 600")


def _run(argv: Sequence[str]) -> int:
    arguments = _run_parser().parse_args(argv)
    over = {flag: value for flag in (*_LEAVES, "seeds") if (value := getattr(arguments, flag)) is not None}
    # what stands on the command line was given by the user; --arch replaces all that a study names
    allow_code = arguments.allow_code or arguments.arch is not None
    plan = _plan(arguments.study, over, arguments.data_dir, arguments.workers, allow_code)
    if plan.note:
        print(f"compare.py: warning: {plan.note}", file=sys.stderr)
    options = _options(arguments)
    if arguments.dry_run:
        from common.estimate import summary

        print(summary(plan, options))
        return 0
    from common.runner import execute, failures

    run, records = execute(plan, options)
    _show(run, records, arguments.json, plan.note)
    if not arguments.no_report:
        _write_report(run, arguments.data_dir)
    return 1 if failures(records) else 0


def _write_report(run: Run, data_dir: str | None) -> None:
    from common.report import write_report
    from common.results import Results

    print(f"report: {write_report(Results(run), data_dir)}", file=sys.stderr)


def _plan(
    study: str | Mapping[str, Any], over: Mapping[str, Any], data_dir: str | None, workers: int, allow_code: bool
) -> Plan:
    """Multiply a study out, with `over`, values by the names of flags, laid over it."""
    import os

    import backends
    from common import studies
    from config import UserError, nearest

    unknown = [name for name in over if name not in (*_LEAVES, "seeds")]
    if unknown:
        known = [*_LEAVES, "seeds"]
        raise UserError(f"{unknown[0]}: is no setting{nearest(unknown[0], known)} Known: {', '.join(known)}")
    given = {
        _LEAVES[flag]: value if isinstance(value, list) else [value] for flag, value in over.items() if flag != "seeds"
    }
    if "seeds" in over:
        given["seed"] = list(range(over["seeds"]))
    cores = max(1, (os.cpu_count() or 1) // workers)
    return studies.plan(studies.read(study), given, backends.vocabulary(allow_code), data_dir, {"threads": [cores]})


def _options(arguments: argparse.Namespace) -> Options:
    from common.runner import Options

    return Options(
        results=arguments.results,
        data_dir=arguments.data_dir,
        workers=arguments.workers,
        timeout_s=arguments.timeout,
        isolate=arguments.isolate,
        batch_trials=arguments.batch_trials,
        retry_failed=arguments.retry_failed,
        overwrite=arguments.overwrite,
        track=list(dict.fromkeys(arguments.track)),
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


def _report(argv: Sequence[str]) -> int:
    parser = _Parser(
        prog="compare.py report",
        description="Make a run's tables, plots and report.html again, from its records alone; nothing is trained.",
        allow_abbrev=False,
    )
    parser.add_argument("run", help="a run's name in the results folder, or its directory")
    _add_data_and_results(parser)
    arguments = parser.parse_args(argv)
    from common import report, store
    from common.results import Results

    print(report.rebuild(Results(store.Run.find(arguments.run, arguments.results)), arguments.data_dir))
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


def _demo(argv: Sequence[str]) -> int:
    parser = _Parser(
        prog="compare.py demo",
        description="Serve a page on this machine alone, on which a run's best models read the digits that are drawn.",
        allow_abbrev=False,
    )
    parser.add_argument("run", help="a run's name in the results folder, or its directory")
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="default: a free one")
    _add_data_and_results(parser)
    arguments = parser.parse_args(argv)
    from common import store
    from common.demo.command import demo

    demo(store.Run.find(arguments.run, arguments.results), arguments.port, arguments.data_dir)
    return 0


def _port(text: str) -> int:
    value = _whole(text)
    if not 0 <= value < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text} is not a port; write a number from 1 to 65535, or 0 for a free one")
    return value


def _export(argv: Sequence[str]) -> int:
    parser = _Parser(
        prog="compare.py export",
        description="Write trained models as ONNX and in their framework's own format, each checked to answer as its "
        "framework does.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "what",
        metavar="RUN|TRIAL",
        help="a run, for each backend's best trial by validation accuracy; or a record's path, or a key's first digits",
    )
    parser.add_argument("--all", action="store_true", help="all trials of the run")
    parser.add_argument("--without-preprocessing", action="store_true", help="take scaled inputs, not raw pixels")
    parser.add_argument("--measure", action="store_true", help="time all in ONNX Runtime, beside their frameworks")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of what --measure prints")
    parser.add_argument("--allow-code", action="store_true", help="run the module:callable that a record names")
    parser.add_argument("--dataset", metavar="FILE.npz", help="the trials' data, where they are a file of your own")
    _add_data_and_results(parser)
    arguments = parser.parse_args(argv)
    from common import export

    options = export.Options(
        arguments.data_dir, arguments.dataset, not arguments.without_preprocessing, arguments.allow_code
    )
    done, refused = [], 0
    for outcome in export.export(export.choose(arguments.what, arguments.results, arguments.all), options):
        if isinstance(outcome, export.Exported):
            done.append(outcome)
            print(outcome.line, file=sys.stderr if arguments.measure else sys.stdout, flush=True)
        else:
            choice, reason = outcome
            refused += 1
            print(f"compare.py: {choice.label} was not exported: {reason}", file=sys.stderr)
    if arguments.measure and done:
        from common import neutral

        print(neutral.report(done, arguments.format, _width()), end="")
    return 1 if refused else 0


def _predict(argv: Sequence[str]) -> int:
    parser = _Parser(
        prog="compare.py predict",
        description="Classify PNG and JPEG files, .npy arrays and folders of them by an exported model alone.",
        allow_abbrev=False,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model.onnx that compare.py export wrote")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    _add_output(parser, quiet=False)
    arguments = parser.parse_args(argv)
    from common.predict import predict

    found = predict(arguments.model, arguments.images)
    for line in found.errors:
        print(f"compare.py: {line}", file=sys.stderr)
    if arguments.json:
        import json

        print(json.dumps(found.document(), ensure_ascii=False, allow_nan=False))
    else:
        print(found.table(_width()), end="")
    return 1 if found.errors else 0


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape; write height x width x channels, such as 28x28x1")
    return int(parts[0]), int(parts[1]), int(parts[2])


if __name__ == "__main__":
    # the records of 10,000 trials are a million objects and no garbage, which the collector would keep walking through
    gc.set_threshold(100_000, 20, 20)
    raise SystemExit(main())
