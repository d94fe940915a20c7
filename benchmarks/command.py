"""``compare.py`` as benchmarks time it: whole commands, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def seconds_of(*arguments: object) -> float:
    """Run ``compare.py``; return its seconds, from the start of the process to its end.

    Raises
    ------
    RuntimeError
        Where it failed, with what it said.
    """
    start = time.perf_counter()
    command = [sys.executable, "compare.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return time.perf_counter() - start
