"""A demo as tests use it: a run on real data, and the command in a process of its own."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.command import ROOT, SCRIPT, call, the_run

_START_S = 120
_END_S = 20


@dataclass
class Served:
    """A demo that runs.

    Attributes
    ----------
    run : the run's directory.
    """

    process: subprocess.Popen[str]
    port: int
    run: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request; return status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def answer(self, drawing: np.ndarray) -> dict[str, Any]:
        """Return what the models answer to a drawing, (height, width) uint8."""
        status, _, body = self.ask("POST", "/answers", as_request(drawing))
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C; return exit status and standard error."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=_END_S)
        return self.process.returncode, err


def as_request(drawing: np.ndarray) -> str:
    """Return a drawing as the page sends it."""
    pixels = base64.b64encode(np.ascontiguousarray(drawing, np.uint8).tobytes()).decode()
    return json.dumps({"width": drawing.shape[1], "height": drawing.shape[0], "pixels": pixels})


def trained(results: Path, *flags: object) -> Path:
    """Run the command line with `flags`, all well; return the run's directory."""
    done = call("--results", results, "--quiet", *flags)
    assert done.status == 0, done.err + done.out
    return the_run(results)


@contextlib.contextmanager
def served(run: Path, *flags: object) -> Iterator[Served]:
    """Start the demo of a run, wait until its page is there, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "demo", str(run), *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
        line = lines.get(timeout=_START_S)
        if "http://127.0.0.1:" not in line:
            raise AssertionError(line + process.communicate(timeout=_END_S)[1])
        yield Served(process, int(line.split("http://127.0.0.1:")[1].split("/")[0]), run)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_END_S)
        process.kill()
        process.wait()
