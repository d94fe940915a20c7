"""``compare.py list``: what there is: backends, architectures, studies, data sets, runs."""

from __future__ import annotations

from collections.abc import Sequence

from commands.arguments import Parser

LISTS = ("backends", "architectures", "protocols", "studies", "datasets", "runs")


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser("Print what there is.", "list")
    parser.add_argument("what", nargs="?", choices=LISTS, help="default: everything")
    parser.add_data_dir()
    parser.add_results()
    arguments = parser.parse_args(argv)
    from common import listing

    for what in [arguments.what] if arguments.what else LISTS:
        print(listing.text(what, arguments.data_dir, arguments.results))
    return 0
