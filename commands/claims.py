"""``compare.py claims``: published claims beside what runs measured."""

from __future__ import annotations

from collections.abc import Sequence

from commands.arguments import Parser, terminal_width


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser("Print each published claim beside what runs measured, and whether it holds.", "claims")
    parser.add_run("runs", nargs="+", metavar="RUN")
    parser.add_format()
    arguments = parser.parse_args(argv)
    import pandas as pd

    from common import claims, store, tables

    records = [store.load(store.Run.find(name, arguments.results)) for name in arguments.runs]
    found = claims.verdicts(pd.concat(records, ignore_index=True))
    if arguments.format == "csv":
        print(tables.to_csv(pd.DataFrame(claims.to_rows(found))), end="")
    else:
        print(claims.render(found, arguments.format, terminal_width()), end="")
    return 0
