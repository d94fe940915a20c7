"""Limits of time and memory, signals and faults of the disk: each ends as it should, and no process is left."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.store import Run, write_atomically
from tests.command import call, marked, record_paths, records, started, study, the_run
from tests.fake_backend import FAULTS

SLOW = {"ffn:1": "sleep:0.1", "ffn:2": "sleep:100"}


def until(what: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def assert_none_left(mark: str) -> None:
    until(lambda: not marked(mark), 10)


# Limits


def test_a_trial_that_takes_more_memory_than_it_may_is_ended_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # where the system does not promise more memory than it has, 100 GB are refused before a byte is written
    monkeypatch.setenv(FAULTS, json.dumps({"ffn:2": "allocate:5000", "ffn:4": "allocate:100000"}))
    path = study(tmp_path, architecture=["ffn:1", "ffn:2", "ffn:3", "ffn:4"])
    outcome = call("--study", path, "--results", tmp_path / "results", "--memory-limit", 1500)
    found = {record["architecture"]: record for record in records(tmp_path / "results")}
    assert {label: record["status"] for label, record in found.items()} == {
        "ffn:1": "ok",
        "ffn:2": "out_of_memory",
        "ffn:3": "ok",
        "ffn:4": "out_of_memory",
    }
    assert "more than the 1,500 MB of --memory-limit" in found["ffn:2"]["error"]
    assert outcome.status == 1


def test_what_a_trial_started_ends_with_it(tmp_path: Path) -> None:
    mark, path = str(uuid.uuid4()), study(tmp_path, architecture=["ffn:1", "ffn:2"])
    process = started(
        "--study", path, "--results", tmp_path / "results", "--timeout", 3, faults={"ffn:1": "child"}, mark=mark
    )
    until(lambda: len(marked(mark)) > 2)  # the run, the trial's process, and its child
    _, err = process.communicate(timeout=60)
    assert "timeout: no result after 3 s" in err
    assert_none_left(mark)


@pytest.mark.slow
def test_the_time_of_a_run_ends_what_runs_and_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    path = study(tmp_path, architecture=["ffn:1", "ffn:2", "ffn:3"])
    command = ["--study", path, "--results", tmp_path / "results"]
    process = started(*command, "--max-time", 20, faults=SLOW, mark="")
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1
    assert {record["architecture"]: record["status"] for record in records(tmp_path / "results")} == {
        "ffn:1": "ok",
        "ffn:2": "timeout",
    }
    assert "1 of 3 trials are not begun" in err
    assert "fake ffn:2: timeout (seed 0): the time of --max-time was over" in out
    before = {path.stem: path.stat().st_mtime_ns for path in record_paths(tmp_path / "results")}
    again = call(*command)
    assert again.status == 0 and [record["status"] for record in records(tmp_path / "results")] == ["ok"] * 3
    after = {path.stem: path.stat().st_mtime_ns for path in record_paths(tmp_path / "results")}
    assert len(before.items() & after.items()) == 1, "what was ended by --max-time is run again, what was not is not"


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_signal_ends_the_run_within_5_seconds(tmp_path: Path, number: signal.Signals, workers: int) -> None:
    mark, path = str(uuid.uuid4()), study(tmp_path, architecture=["ffn:1", "ffn:2"], seeds=3, threads=1)
    faults = {"ffn:1": "sleep:100", "ffn:2": "hang"}
    command = ["--study", path, "--results", tmp_path / "results", "--workers", workers]
    process = started(*command, faults=faults, mark=mark)
    until(lambda: len(marked(mark)) > workers)
    time.sleep(1)
    process.send_signal(number)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1] == "compare.py: stopped; the same command goes on where it was"
    assert "Traceback" not in err
    assert not (the_run(tmp_path / "results") / "claims").exists()
    assert_none_left(mark)


def test_two_signals_end_it_at_once(tmp_path: Path) -> None:
    mark, path = str(uuid.uuid4()), study(tmp_path, architecture="ffn:1")
    process = started("--study", path, "--results", tmp_path / "results", faults={"ffn:1": "hang"}, mark=mark)
    until(lambda: len(marked(mark)) > 1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=5)
    # the second may find the run over already, and end what is left of the process as signals do
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGTERM)
    assert_none_left(mark)


def test_what_a_killed_trial_started_ends_with_the_killed_run(tmp_path: Path) -> None:
    mark, path = str(uuid.uuid4()), study(tmp_path, architecture="ffn:1")
    process = started("--study", path, "--results", tmp_path / "results", faults={"ffn:1": "child"}, mark=mark)
    until(lambda: len(marked(mark)) > 2)
    process.kill()
    process.communicate()
    assert_none_left(mark)


def test_a_signal_just_after_the_renaming_of_a_file_is_that_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def replace_and_stop(source: str, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace_and_stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", "whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


# Disk


@pytest.fixture(
    params=[*(pytest.param(what, marks=pytest.mark.slow) for what in ("full", "without inodes")), "read-only"]
)
def bad_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """A small disk of its own, on which 3 trials can be recorded, and what then happens to it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = {"full": "size=200k", "without inodes": "size=50m,nr_inodes=40", "read-only": "size=50m"}[request.param]
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk, request.param
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_bad_disk_is_said_in_one_line_and_what_is_finished_stays(bad_disk: tuple[Path, str], tmp_path: Path) -> None:
    disk, fault = bad_disk
    path = study(tmp_path, architecture="ffn:1", seeds=30, threads=1)
    command = ["--study", path, "--results", disk / "results"]
    process = started(*command, faults={"ffn:1": "sleep:0.1"}, mark="")
    if fault == "read-only":
        until(lambda: len(record_paths(disk / "results")) >= 2)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    _, err = process.communicate(timeout=60)
    last = err.splitlines()[-1]
    assert process.returncode == 2 and "Traceback" not in err, err
    assert os.strerror(errno.EROFS if fault == "read-only" else errno.ENOSPC) in last
    assert "cannot be written" in last and "--results DIR" in last
    found = records(disk / "results")
    assert 2 <= len(found) < 30 and {record["status"] for record in found} == {"ok"}
    shown = call("table", the_run(disk / "results"))
    assert shown.status == 0, shown.err
    shutil.copytree(disk / "results", tmp_path / "results")
    assert call(*command[:2], "--results", tmp_path / "results").status == 0
    assert len(records(tmp_path / "results")) == 30


def test_a_damaged_record_is_said_even_where_it_cannot_be_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study(tmp_path, architecture=["ffn:1", "ffn:2"])
    assert call("--study", path, "--results", tmp_path / "results").status == 0
    record_paths(tmp_path / "results")[0].write_text("{")

    def refuse(path: Path, other: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)  # as root, no folder of one's own is read-only
        shown = call("table", the_run(tmp_path / "results"))
    assert shown.status == 0 and "is damaged (ValueError: EOF" in shown.err and "Read-only file system" in shown.err
    shown = call("table", the_run(tmp_path / "results"))
    assert "set aside as" in shown.err and "counts as not run" in shown.err
    assert call("table", the_run(tmp_path / "results")).err == ""


@pytest.mark.parametrize("name", ["study.json", "environment.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "[" * 100_000, '{"keys": 1, "fixed": 1}', "\xff"])
def test_a_damaged_file_of_the_run_is_said_in_one_line(
    finished: tuple[list[object], Path], name: str, content: str
) -> None:
    command, results = finished
    (the_run(results) / name).write_text(content, encoding="latin-1")
    outcomes = [call("table", the_run(results)), call("list", "runs", "--results", results), call(*command)]
    assert not any("Traceback" in outcome.err for outcome in outcomes)
    if name == "study.json":  # which the command writes anew
        assert [outcome.status for outcome in outcomes] == [2, 0, 0]
        assert f"{name} is damaged" in outcomes[0].err and f"{name} is damaged" in outcomes[1].out
        assert call("table", the_run(results)).status == 0
    else:
        assert [outcome.status for outcome in outcomes] == [0, 0, 2]
        assert f"{name} is damaged" in outcomes[2].err and len(outcomes[2].err.splitlines()) == 1
        (the_run(results) / name).unlink()
        assert call(*command).status == 0


@pytest.mark.parametrize("command", ["run", "report"])
def test_tables_that_cannot_be_written_are_said_in_one_line(finished: tuple[list[object], Path], command: str) -> None:
    again, results = finished
    tables = the_run(results) / "tables"
    shutil.rmtree(tables)
    tables.touch()
    outcome = call(*again, "--quiet") if command == "run" else call("report", the_run(results))
    assert outcome.status == 2 and "Traceback" not in outcome.err
    assert outcome.err.splitlines()[-1] == f"compare.py: {tables}: {os.strerror(errno.EEXIST)}"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("once")
    path = study(folder, architecture="ffn:1")
    assert call("--study", path, "--results", folder / "results").status == 0
    return path, folder / "results"


@pytest.fixture
def finished(once: tuple[Path, Path], tmp_path: Path) -> tuple[list[object], Path]:
    """The command of a finished run, on a copy of its results."""
    shutil.copytree(once[1], tmp_path / "results")
    return ["--study", once[0], "--results", tmp_path / "results"], tmp_path / "results"


# Links, devices, names


def test_links_and_pipes_in_the_place_of_records_are_not_followed(
    finished: tuple[list[object], Path], tmp_path: Path
) -> None:
    command, results = finished
    (record,) = record_paths(results)
    outside = tmp_path / "outside.json"
    record.rename(outside)
    content = outside.read_bytes()
    for make in (lambda: record.symlink_to(outside), lambda: os.mkfifo(record), record.mkdir):
        make()
        outcome = call(*command)
        assert outcome.status == 0 and "is damaged" in outcome.err
        assert record.is_file() and not record.is_symlink()
        assert outside.read_bytes() == content
        record.unlink()
        aside = record.with_suffix(".damaged")
        aside.rmdir() if aside.is_dir() and not aside.is_symlink() else aside.unlink()


def test_a_log_that_is_a_link_is_not_written_through(finished: tuple[list[object], Path], tmp_path: Path) -> None:
    command, results = finished
    outside = tmp_path / "outside.log"
    outside.write_text("mine\n")
    (the_run(results) / "run.log").unlink()
    (the_run(results) / "run.log").symlink_to(outside)
    record_paths(results)[0].unlink()
    outcome = call(*command)
    assert outcome.status == 2 and "run.log cannot be written" in outcome.err
    assert outside.read_text() == "mine\n"


def test_artefacts_that_are_a_link_are_replaced_not_followed(
    finished: tuple[list[object], Path], tmp_path: Path
) -> None:
    command, results = finished
    (record,) = record_paths(results)
    shutil.rmtree(record.with_suffix(""))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    record.with_suffix("").symlink_to(tmp_path / "outside")
    record.unlink()
    assert call(*command).status == 0
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["kept"]
    assert not record.with_suffix("").is_symlink() and (record.with_suffix("") / "history.json").is_file()


@pytest.mark.parametrize("key", ["../../../../etc/passwd", "/etc/passwd", "ab/../cd", "A" * 64, "", 7, None])
def test_keys_that_lead_elsewhere_are_refused(finished: tuple[list[object], Path], key: object) -> None:
    _, results = finished
    file = the_run(results) / "study.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "keys": [key]}))
    outcome = call("table", the_run(results))
    assert outcome.status == 2 and "is no key of a trial" in outcome.err and len(outcome.err.splitlines()) == 1


def test_a_key_that_is_no_key_clears_nothing(tmp_path: Path) -> None:
    (tmp_path / "trials" / "ab").mkdir(parents=True)
    (tmp_path / "trials" / "ab" / "ab*.x.part").mkdir()
    Run(tmp_path).clear("ab*")
    Run(tmp_path).clear("../ab")
    assert (tmp_path / "trials" / "ab" / "ab*.x.part").exists()
