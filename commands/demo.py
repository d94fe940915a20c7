"""``compare.py demo``: a page on this machine, on which a run's best models read what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from commands.arguments import Parser, port


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser(
        "Serve a page on this machine alone, on which a run's best models read the digits that are drawn.", "demo"
    )
    parser.add_run()
    parser.add_argument("--port", type=port, default=0, metavar="N", help="default: a free one")
    parser.add_data_dir()
    arguments = parser.parse_args(argv)
    from common import store
    from common.demo.command import demo

    demo(store.Run.find(arguments.run, arguments.results), arguments.port, arguments.data_dir)
    return 0
