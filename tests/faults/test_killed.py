"""Runs killed with -9 at random moments, then resumed: nothing lost, nothing run again, nothing left behind.

``make faults`` has 100 of them; ``SAMENET_KILLS`` says how many.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from common.store import Run
from tests.command import marked, record_paths, started, study, the_run, workers_marked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("SAMENET_KILLS", "10"))
REAL = max(1, KILLS // 10)
MEANS = ("the run", "its worker", "both", "one of two runs")
FIGURES: Counter[str] = Counter()


def recorded(results: Path) -> dict[str, int]:
    """Return when each good record was written, by key; an unreadable one is counted."""
    runs = [Run(path) for path in results.glob("*-*")]
    for run in runs:
        FIGURES["unreadable records"] += sum(
            1 for path in run.directory.glob("trials/??/*.json") if run.record(path.stem) is None
        )
    good = {record["key"] for run in runs for record in run.records() if record["status"] == "ok"}
    return {path.stem: path.stat().st_mtime_ns for path in record_paths(results) if path.stem in good}


def kill(process: subprocess.Popen[str], mark: str, means: str) -> None:
    workers = workers_marked(mark)
    if means != "its worker":
        process.kill()
    if means in ("its worker", "both"):
        for worker in workers:
            with suppress(psutil.Error):
                worker.send_signal(signal.SIGKILL)


def killed_and_resumed(folder: Path, command: list[object], moments: random.Random, seconds: float) -> None:
    means, mark, results = moments.choice(MEANS), str(uuid.uuid4()), folder / "results"
    process = started(*command, faults={}, mark=mark)
    other = started(*command, faults={}, mark=mark + "other") if means == "one of two runs" else None
    time.sleep(moments.uniform(0, seconds))
    kill(process, mark, means)
    if means == "its worker":
        _, err = process.communicate(timeout=120)
        assert process.returncode in (0, 1), err
    process.communicate()
    before = recorded(results)
    for part in results.rglob(".*"):  # as after a minute, by when a write is over or its writer is gone
        with suppress(FileNotFoundError):
            os.utime(part, (0, 0))
    if other is not None:  # it takes over what the killed one had
        _, err = other.communicate(timeout=120)
        assert other.returncode == 0, err
    resumed = started(*command, "--retry-failed", faults={}, mark=mark)
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    after = recorded(results)
    FIGURES["runs killed"] += 1
    FIGURES["killed: " + means] += 1
    FIGURES["trials recorded before the end"] += len(before)
    FIGURES["trials lost"] += 6 - len(after)
    FIGURES["trials run twice after being recorded"] += sum(after.get(key) != when for key, when in before.items())
    deadline = time.monotonic() + 10
    while (left := [*marked(mark), *marked(mark + "other")]) and time.monotonic() < deadline:
        time.sleep(0.1)
    FIGURES["processes left after 10 s"] += len(left)
    run = the_run(results)
    remains = [path for path in run.rglob("*") if path.name.startswith(".") or path.suffix in (".part", ".damaged")]
    FIGURES["files left"] += len(remains) + (run / "claims").exists()


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_run_resumes(tmp_path: Path, number: int) -> None:
    moments = random.Random(number)
    if number < REAL:
        backends = {"backend": ["sklearn", "torch"], "architecture": ["ffn:8"], "seeds": 3}
        path, seconds = study(tmp_path, **backends, threads=1), 12.0
    else:
        path, seconds = study(tmp_path, architecture=["ffn:1", "ffn:2"], seeds=3, threads=1), 4.0
    killed_and_resumed(tmp_path, ["--study", path, "--results", tmp_path / "results"], moments, seconds)


def test_nothing_was_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:6} {what}" for what, count in sorted(FIGURES.items())))
    assert FIGURES["runs killed"] == KILLS
    for what in ("trials lost", "trials run twice after being recorded", "unreadable records"):
        assert FIGURES[what] == 0, what
    assert FIGURES["processes left after 10 s"] == FIGURES["files left"] == 0
