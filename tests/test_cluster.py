"""Clusters: Dask with workers of its own on this machine's loopback, submitit with its local executor."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

import backends
from common.environment import describe
from common.jobs import Job, Terms, map_trials
from common.remote import pack, run_packed
from common.slurm import SlurmExecutor
from config import Trial
from tests.command import ROOT, call, marked, record_paths, records, started, study, the_run
from tests.fake_backend import FAULTS, registered
from tests.test_runner import without_times

pytest.importorskip("distributed", reason="needs requirements-scale.txt")
pytestmark = pytest.mark.slow


def by_key(results: Path) -> dict[str, dict[str, Any]]:
    """Return the records without times, memory, and whether others ran beside them."""
    left_out = dict.fromkeys(("contended", "idle_memory_mb", "peak_memory_mb", "memory_rise_mb", "memory_method"))
    return {record["key"]: {**without_times(record), **left_out} for record in records(results)}


def assert_same_predictions(one: Path, other: Path) -> None:
    for path in record_paths(one):
        twin = the_run(other) / "trials" / path.parent.name / path.stem
        assert {file.name for file in path.with_suffix("").iterdir()} == {file.name for file in twin.iterdir()}
        name = "predictions.npz"
        assert (path.with_suffix("") / name).read_bytes() == (twin / name).read_bytes()


class Cluster:
    """A Dask scheduler and workers, each a process of its own as on nodes of their own."""

    def __init__(self, stack: ExitStack, mark: str) -> None:
        self._stack, self.mark = stack, mark
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self._said(self.scheduler, r"Scheduler at:\s+(tcp://\S+)")

    def worker(self) -> subprocess.Popen[str]:
        started = self._start("worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny",
                              "--no-dashboard", "--memory-limit", "0", "--death-timeout", "10")  # fmt: skip
        self._said(started, r"(Registered to)")
        return started

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_MARK": self.mark}
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments], stderr=subprocess.PIPE, text=True, env=environment, cwd="/"
            )
        )
        self._stack.callback(process.kill)
        return process

    def _said(self, process: subprocess.Popen[str], pattern: str) -> str:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(pattern, line):
                return found[1]
        raise AssertionError(f"it ended without saying {pattern}")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    mark = str(uuid.uuid4())
    with ExitStack() as stack:
        yield Cluster(stack, mark)
    deadline = time.monotonic() + 10
    while marked(mark):
        assert time.monotonic() < deadline, marked(mark)
        time.sleep(0.1)


def wait_for_records(process: subprocess.Popen[str], results: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(record_paths(results)) < count:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)


def test_a_cluster_started_for_the_run_gives_what_local_processes_give(tmp_path: Path) -> None:
    training = {"optimizer": "adam", "epochs": 3}
    path = study(tmp_path, backend=["sklearn", "torch"], architecture="ffn:8", seeds=1, threads=1, training=training)
    here = call("--study", path, "--results", tmp_path / "local")
    there = call("--study", path, "--results", tmp_path / "dask", "--executor", "dask", "--workers", 2)
    assert (here.status, there.status) == (0, 0), there.err
    assert by_key(tmp_path / "local") == by_key(tmp_path / "dask")
    assert_same_predictions(tmp_path / "local", tmp_path / "dask")
    assert {record["contended"] for record in records(tmp_path / "dask")} == {True}
    assert not [child for child in psutil.Process().children(recursive=True) if "common.worker" in child.cmdline()]


FAST_MEMORY = """
import os
from sklearn.tree import DecisionTreeClassifier

def tree():
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ, "Dask's own setting"
    return DecisionTreeClassifier()
"""


def test_a_trials_memory_is_not_given_back_at_every_step(tmp_path: Path) -> None:
    (tmp_path / "tree.py").write_text(FAST_MEMORY)
    path = study(tmp_path, backend="sklearn", architecture=f"{tmp_path}/tree.py:tree", training={"optimizer": "adam"})
    call("--study", path, "--allow-code", "--results", tmp_path / "dask", "--executor", "dask")
    (record,) = records(tmp_path / "dask")
    assert record["status"] == "ok", record["error"]


def test_a_node_that_dies_midway_leaves_the_study_complete(tmp_path: Path, cluster: Cluster) -> None:
    doomed, _ = cluster.worker(), cluster.worker()
    path = study(tmp_path, architecture=["ffn:1", "ffn:2"], seeds=4, threads=1)
    command = ["--study", path, "--results", tmp_path / "results"]
    process = started(*command, "--executor", "dask", "--scheduler", cluster.address, faults={}, mark="")
    wait_for_records(process, tmp_path / "results", 2)
    doomed.kill()
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert [record["status"] for record in records(tmp_path / "results")] == ["ok"] * 8
    assert call(*command[:2], "--results", tmp_path / "local").status == 0
    assert by_key(tmp_path / "results") == by_key(tmp_path / "local")


def test_a_scheduler_that_dies_ends_the_run_in_one_line_and_local_processes_finish_it(
    tmp_path: Path, cluster: Cluster
) -> None:
    cluster.worker()
    path = study(tmp_path, architecture=["ffn:1", "ffn:2"], seeds=3, threads=1)
    command = ["--study", path, "--results", tmp_path / "results"]
    process = started(*command, "--executor", "dask", "--scheduler", cluster.address, faults={}, mark="")
    wait_for_records(process, tmp_path / "results", 2)
    cluster.scheduler.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in err, err
    assert "the Dask scheduler is gone" in err.splitlines()[-1]
    before = {path: path.stat().st_mtime_ns for path in record_paths(tmp_path / "results")}
    assert call(*command).status == 0
    after = {path: path.stat().st_mtime_ns for path in record_paths(tmp_path / "results")}
    assert before.items() <= after.items() and len(after) == 6


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_the_end_of_a_run_ends_its_trials_on_the_cluster(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    monkeypatch.setenv(FAULTS, json.dumps({"ffn:1": "hang"}))
    cluster.worker()
    path = study(tmp_path, architecture="ffn:1")
    flags = ["--results", tmp_path / "results", "--executor", "dask", "--scheduler", cluster.address]
    process = started("--study", path, *flags, faults={}, mark="")

    def trials() -> list[psutil.Process]:
        return [one for one in marked(cluster.mark) if "common.worker" in one.cmdline()]

    deadline = time.monotonic() + 60
    while not trials():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    process.communicate(timeout=5)
    assert process.returncode == status
    deadline = time.monotonic() + 10
    while trials():
        assert time.monotonic() < deadline, "its trial goes on"
        time.sleep(0.1)


def test_a_scheduler_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1")
    for address in ("tcp://127.0.0.1:9", "nonsense", "tcp://127.0.0.1:port"):
        outcome = call("--study", path, "--results", tmp_path, "--executor", "dask", "--scheduler", address)
        assert outcome.status == 2 and f"answers at {address}" in outcome.err, outcome
        assert len(outcome.err.splitlines()) == 1


# SLURM


def job(folder: Path, label: str) -> Job:
    fields = {"backend": "fake", "dataset": "digits", "rows": 300, "training": {"epochs": 2, "optimizer": "sgd"}}
    trial = Trial.model_validate({**fields, "architecture": label}, context=backends.vocabulary())
    return Job([trial], [folder / trial.key])


def test_arrays_of_submitit_run_trials_and_leave_no_pickle_in_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(FAULTS, json.dumps({"ffn:2": "crash"}))
    with registered():
        first, second = (job(tmp_path / "staged", label) for label in ("ffn:1", "ffn:2"))
        executor = SlurmExecutor(Terms(), 2, cluster="local")
        found = {record["architecture"]: record for record in map_trials(iter([first, None, second]), executor)}
    assert {label: record["status"] for label, record in found.items()} == {"ffn:1": "ok", "ffn:2": "failed"}
    assert (first.directories[0] / "predictions.npz").is_file()
    assert not [path for path in (tmp_path / "staged").rglob("*") if path.suffix == ".pkl"]


def test_dry_run_prints_the_batch_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = study(tmp_path, architecture=["ffn:1", "ffn:2"], threads=3)
    flags = ["--executor", "slurm", "--workers", 1, "--timeout", 600, "--memory-limit", 3000, "--dry-run"]
    outcome = call("--study", path, "--results", tmp_path / "results", *flags)
    assert outcome.status == 0, outcome.err
    for line in (
        "#!/bin/bash",
        "#SBATCH --array=0-1%1",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --time=15",
        "#SBATCH --mem=4GB",
    ):
        assert line in outcome.out.splitlines(), outcome.out
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="there is SLURM here")
def test_slurm_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    path = study(tmp_path, architecture="ffn:1")
    outcome = call("--study", path, "--results", tmp_path / "results", "--executor", "slurm")
    assert outcome.status == 2 and "sbatch" in outcome.err and len(outcome.err.splitlines()) == 1


def test_a_machine_with_other_libraries_refuses_a_job(tmp_path: Path) -> None:
    environment = {**describe(["numpy"])["fixed"], "numpy": "1.0"}
    with registered():
        answer = run_packed(pack(job(tmp_path, "ffn:1"), Terms(environment=environment), 60.0))
    assert answer["refused"] is not None and "not 1.0" in answer["refused"] and not answer["records"]
