"""``compare.py predict``: pictures classified by an exported model alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from commands.arguments import Parser, terminal_width


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser(
        "Classify PNG and JPEG files, .npy arrays and folders of them by an exported model alone.", "predict"
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model.onnx that compare.py export wrote")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_json()
    arguments = parser.parse_args(argv)
    from common.predict import predict

    found = predict(arguments.model, arguments.images)
    for line in found.errors:
        print(f"compare.py: {line}", file=sys.stderr)
    if arguments.json:
        import json

        print(json.dumps(found.document(), ensure_ascii=False, allow_nan=False))
    else:
        print(found.table(terminal_width()), end="")
    return 1 if found.errors else 0
