"""Contenders timed in turns, A B A B, each in a process of its own that waits while the others run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from common.stats import Estimate, median_interval

WARM = 1
"""Epochs that each contender trains before any counts: what compiles and allocates does so then."""


class Contender:
    """A process that runs one job whenever it is asked, and says how long it took; a context manager.

    Parameters
    ----------
    module : run as ``python -m module NAME JSON``; serves with :func:`serve`.
    environment : variables beside those of this process.
    """

    def __init__(self, module: str, name: str, case: dict[str, Any], environment: dict[str, str]) -> None:
        self.name = name
        read, write = os.pipe()
        command = [sys.executable, "-m", module, name, json.dumps(case), str(write)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[write],
            env={**os.environ, **environment},
            text=True,
        )
        os.close(write)
        self._answers = os.fdopen(read)

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()

    def run(self, amount: int) -> float:
        """Run the job with `amount`; return its seconds.

        Raises
        ------
        RuntimeError
            Where the process ended, with the last line of what it said.
        """
        assert self._process.stdin is not None and self._process.stderr is not None
        try:
            self._process.stdin.write(f"{amount}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._answers.readline()
        if not line:
            said = self._process.stderr.read().strip().splitlines() or ["nothing was said"]
            raise RuntimeError(f"{self.name}: {said[-1]}")
        return float(line)


def serve(job: Callable[[int], None], descriptor: int) -> None:
    """Run `job` for each line of standard input, and write its seconds to `descriptor`."""
    with os.fdopen(descriptor, "w") as answers:
        for line in sys.stdin:
            start = time.perf_counter()
            job(int(line))
            answers.write(f"{time.perf_counter() - start}\n")
            answers.flush()


def rounds(contenders: Sequence[Contender], count: int, amount: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Run each contender once a round; return seconds for one unit of `amount`, and why contenders are missing."""
    seconds: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        for contender in contenders:
            stack.enter_context(contender)
            try:
                contender.run(WARM)
                seconds[contender.name] = []
            except RuntimeError as error:
                missing[contender.name] = str(error)
        for number in range(count):
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                if contender.name in seconds:
                    seconds[contender.name].append(contender.run(amount) / amount)
    return seconds, missing


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Estimate:
    """Return the median of the rounds' ratios with its interval: how many times as long `slow` takes."""
    return median_interval(np.array(slow) / np.array(fast))
