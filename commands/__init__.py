"""The commands of compare.py, one file each, with a function ``main(argv)`` that returns the exit status.

:mod:`commands.run` is what happens where no other is named.
"""

from collections.abc import Callable, Sequence
from importlib import import_module

Command = Callable[[Sequence[str]], int]

COMMANDS = {
    "list": "[WHAT]|backends, architectures, protocols, studies, datasets, runs",
    "table": "RUN|print a run's table again: in another format, ranked, or two backends compared",
    "report": "RUN|plots and report.html, made again from the records",
    "claims": "RUN...|each published claim beside what was measured, and whether it holds",
    "demo": "RUN|draw digits on a page on this machine, and see the run's models read them",
    "export": "RUN|trained models as ONNX, checked against their frameworks; or that of one trial",
    "predict": "MODEL IMAGE...|classify pictures by an exported model alone",
    "tune": "STUDY|search each framework's best under one budget, then test it over seeds",
    "parity": "|train the same network in every framework, and print the largest difference",
    "profile": "ARCH...|parameters, FLOPs, memory and storage by layer",
}
"""What each command takes, and what it does; in the order in which ``compare.py --help`` has them."""


def command(name: str) -> Command:
    """Return a command's function; only its own module is imported, so that each answers at once."""
    main: Command = import_module(f"commands.{name}").main
    return main


def overview() -> str:
    """Return the commands as the lines that end ``compare.py --help``."""
    lines = ["other commands (each has its own --help):"]
    for name, text in COMMANDS.items():
        takes, does = text.split("|")
        lines.append(f"  {f'{name} {takes}':<18}{does}" if len(name + takes) < 17 else f"  {name} {takes}  {does}")
    return "\n".join(lines)
