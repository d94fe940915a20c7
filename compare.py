#!/usr/bin/env python3
"""samenet's command line: train the same networks in scikit-learn, Keras and PyTorch, and print one table.

From Python, the same: :func:`load_dataset`, :func:`run_study`, :func:`load_run`; and any backend as a scikit-learn
estimator, :class:`common.estimator.FrameworkClassifier`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import COMMANDS, command, settings

# Heavy modules are imported where they are used: ``--help`` must answer at once.
if TYPE_CHECKING:
    from common.data import Dataset
    from common.results import Results


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
    track: Sequence[str] = (),
    quiet: bool = False,
    **over: Any,
) -> Results:
    """Run what is left of a study, as the command line does, and return its results.

    Parameters
    ----------
    study : a shipped study's name, the path of a study file, or what would stand in one.
    results : the folder of runs. The same call again trains nothing that is finished.
    workers : trials side by side; their times are marked contended.
    track : trackers that hear of every trial, ``tensorboard`` or ``mlflow``.
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

    work = settings.plan(study, over, data_dir, workers, allow_code="arch" in over or not isinstance(study, str))
    run, _ = execute(work, Options(Path(results), data_dir, workers, track=track, quiet=quiet))
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
    name = arguments.pop(0) if arguments and arguments[0] in COMMANDS else "run"
    try:
        status = command(name)(arguments)
        sys.stdout.flush()  # here, where a reader that has gone is no news
        return status
    except KeyboardInterrupt as stop:
        print("compare.py: stopped; the same command goes on where it was", file=sys.stderr)
        return int(getattr(stop, "status", 130))
    except BrokenPipeError:  # the reader of our output has gone: `compare.py table RUN | head`
        _silence()
        return 0
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"compare.py: {place}{error.strerror or error}", file=sys.stderr)
        return 2
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


if __name__ == "__main__":
    # the records of 10,000 trials are a million objects and no garbage, which the collector would keep walking through
    gc.set_threshold(100_000, 20, 20)
    raise SystemExit(main())
