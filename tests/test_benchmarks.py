"""The benchmarks run; what they measure is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(module: str, *flags: object) -> tuple[str, dict[str, object]]:
    """Run a benchmark with its figures going to the file behind the last flag; return what it printed, and those."""
    command = [sys.executable, "-m", module, *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, json.loads(Path(str(flags[-1])).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_loop_is_timed(tmp_path: Path) -> None:
    flags = ("ffn:128-64", "--rounds", 2, "--epochs", 1, "--rows", 500, "--threads", 1)
    printed, found = run("benchmarks.loops", *flags, "--output", tmp_path / "loops.json")
    (case,) = found["cases"]  # type: ignore[misc]
    timed, missing = case["seconds_an_epoch"], case["missing"]
    assert {"samenet, PyTorch", "PyTorch, DataLoader", "samenet, scikit-learn", "Keras on JAX, fit"} <= set(timed)
    assert set(missing) <= {"Lightning", "skorch"}, missing  # which make bench installs
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in timed.values())
    assert all(name in printed for name in timed)


@pytest.mark.slow
def test_networks_one_by_one_and_together_are_timed(tmp_path: Path) -> None:
    flags = ("--rounds", 2, "--rows", 300, "--threads", 1)
    printed, found = run("benchmarks.many", *flags, "--output", tmp_path / "many.json")
    assert all(len(times) == 2 for case in found["cases"] for times in case["seconds"].values())  # type: ignore[attr-defined]
    assert "times as fast" in printed


@pytest.mark.slow
def test_commands_on_stores_are_timed(tmp_path: Path) -> None:
    flags = ("--trials", 10, 20, "--rounds", 1, "--dataset", "digits")
    printed, found = run("benchmarks.harness", *flags, "--output", tmp_path / "harness.json")
    assert set(found["stores"]) == {"10", "20"}  # type: ignore[call-overload]
    assert "share %" in printed


@pytest.mark.slow
def test_workers_are_timed_and_files_are_measured(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs requirements-scale.txt")
    flags = ("--dataset", "digits", "--trials", 2, "--tiny", 2, "--rounds", 1, "--exported", 10)
    printed, found = run("benchmarks.scaling", *flags, "--output", tmp_path / "scaling.json")
    assert found["sizes"]["sklearn"]["inodes"] == 5  # type: ignore[index]
    assert "10 trials: records" in printed and "Dask, 2 workers" in printed
