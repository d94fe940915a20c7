"""``compare.py report``: a run's plots and page, made again from its records."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from commands.arguments import Parser


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser(
        "Make a run's tables, plots and report.html again, from its records alone; nothing is trained.", "report"
    )
    parser.add_run()
    parser.add_data_dir()
    arguments = parser.parse_args(argv)
    from common import report, store
    from common.results import Results

    run = store.Run.find(arguments.run, arguments.results)
    print("plots and report are being made ...", file=sys.stderr)
    print(report.rebuild(Results(run), arguments.data_dir))
    return 0
