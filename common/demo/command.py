"""What ``compare.py demo`` does: open the models, serve the page, and end with Ctrl-C."""

from __future__ import annotations

import sys
from contextlib import suppress

from common import data
from common.demo.answers import Answers
from common.demo.chosen import choose, dataset_of
from common.demo.server import Server
from common.store import Run
from common.viewing import Viewer


def demo(run: Run, port: int, data_dir: str | None) -> None:
    """Serve the page of a run until it is interrupted.

    Raises
    ------
    UserError
        Where the run's data are no digits, none of its models can be opened, or the port is not to be had.
    """
    name = dataset_of(run)
    models = choose(run, name)
    for model in models:
        seeds = f"mean of {model.seeds} seeds" if model.seeds > 1 else "one seed"
        print(f"opening {model.title}: {model.val_accuracy:.2%} of validation, {seeds}", file=sys.stderr, flush=True)
    with suppress(KeyboardInterrupt), Server(port) as server, Viewer({}, data_dir) as viewer:
        answers = Answers(run, models, data.load(name, data_dir), viewer)
        print(f"draw a digit at {server.url} (Ctrl-C ends)", flush=True)
        server.serve(answers)
