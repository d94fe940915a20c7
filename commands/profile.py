"""``compare.py profile``: a network's costs layer by layer, without training."""

from __future__ import annotations

from collections.abc import Sequence

from commands.arguments import Parser, positive, shape


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    parser = Parser("Count a network's costs layer by layer, without training.", "profile")
    parser.add_argument("architectures", nargs="+", metavar="ARCH", help="such as ffn:64 or attention_5k")
    parser.add_argument("--backend", default="torch", metavar="NAME", help="default: torch")
    parser.add_argument("--engine", metavar="NAME", help="Keras's engine")
    parser.add_argument("--input-shape", type=shape, default=(28, 28, 1), metavar="HxWxC", help="default: 28x28x1")
    parser.add_argument("--classes", type=positive, default=10, metavar="N", help="default: 10")
    arguments = parser.parse_args(argv)
    from common import profiling

    print(profiling.text(arguments))
    return 0
