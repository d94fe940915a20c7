"""``compare.py table``: a run's table again: in another format, ranked, or two backends compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from commands.arguments import Parser, terminal_width


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser("Print a run's table.", "table")
    parser.add_run()
    parser.add_format()
    parser.add_argument("--rank", metavar="WEIGHTS", help="such as test_accuracy=0.4,fit_s=0.2,parameters=0.4")
    parser.add_argument("--compare", metavar="A:B", help="two backends or architectures, such as sklearn:keras/jax")
    parser.add_argument(
        "--parquet", type=Path, metavar="FILE", help="write all trials, a row each, to one file instead"
    )
    arguments = parser.parse_args(argv)
    from common import ranking, store, summary, tables

    if arguments.rank is not None and arguments.compare is not None:
        parser.error("--rank and --compare are two reports; give one of them")
    weights = ranking.parse_weights(arguments.rank) if arguments.rank is not None else None
    run = store.Run.find(arguments.run, arguments.results)
    if arguments.parquet is not None:
        from common.parquet import write_parquet

        print(f"{write_parquet(run, arguments.parquet):,} trials: {arguments.parquet}")
        return 0
    records, width = store.load(run), terminal_width()
    if arguments.compare is not None:
        from common import pairs, verdicts

        sides = pairs.parse_sides(arguments.compare, records)
        lines = pairs.compare(records, *sides, run.artefacts)
        print(verdicts.render_pairs(lines, *sides, arguments.format, width=width), end="")
        return 0
    rows = summary.summarize(records, run.base())
    if weights is None:
        print(tables.render(rows, arguments.format, note=run.study()["note"], width=width), end="")
    else:
        print(tables.render_ranking(ranking.rank(rows, weights), arguments.format, width=width), end="")
    return 0
