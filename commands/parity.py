"""``compare.py parity``: the same networks trained in every framework, and the largest difference."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from commands.arguments import Parser


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser(
        "Train the same networks in every framework from the same weights and batches, and compare them.", "parity"
    )
    parser.add_argument("--dataset", default="auto", metavar="NAME", help="default: auto")
    parser.add_data_dir()
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
