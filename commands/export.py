"""``compare.py export``: trained models as ONNX and in their framework's own format."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from commands.arguments import Parser, terminal_width


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser(
        "Write trained models as ONNX and in their framework's own format, each checked to answer as its "
        "framework does.",
        "export",
    )
    parser.add_argument(
        "what",
        metavar="RUN|TRIAL",
        help="a run, for each backend's best trial by validation accuracy; or a record's path, or a key's first digits",
    )
    parser.add_argument("--all", action="store_true", help="all trials of the run")
    parser.add_argument("--without-preprocessing", action="store_true", help="take scaled inputs, not raw pixels")
    parser.add_argument("--measure", action="store_true", help="time all in ONNX Runtime, beside their frameworks")
    parser.add_argument("--smaller", action="store_true", help="in 8 bits too; scored and measured beside the others")
    parser.add_format(help="of what --measure and --smaller print")
    parser.add_argument("--allow-code", action="store_true", help="run the module:callable that a record names")
    parser.add_argument("--dataset", metavar="FILE.npz", help="the trials' data, where they are a file of your own")
    parser.add_data_dir()
    parser.add_results()
    arguments = parser.parse_args(argv)
    from common import export

    options = export.Options(
        arguments.data_dir,
        arguments.dataset,
        not arguments.without_preprocessing,
        arguments.allow_code,
        arguments.smaller,
    )
    measure = arguments.measure or arguments.smaller
    done, refused = [], 0
    for outcome in export.export(export.choose(arguments.what, arguments.results, arguments.all), options):
        if isinstance(outcome, export.Exported):
            done.append(outcome)
            print(outcome.line, file=sys.stderr if measure else sys.stdout, flush=True)
        else:
            choice, reason = outcome
            refused += 1
            print(f"compare.py: {choice.label} was not exported: {reason}", file=sys.stderr)
    if measure and done:
        from common import neutral, smaller

        print(neutral.report(done, arguments.format, terminal_width()), end="")
        if arguments.smaller and arguments.format != "csv":
            print("\n" + smaller.render(done, arguments.format, terminal_width()), end="")
    return 1 if refused else 0
