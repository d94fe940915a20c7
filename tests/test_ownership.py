"""Several processes on one run: every trial once, claims of the gone taken over, those of the living left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.ownership import Claims, Owner, at_work
from tests.command import ROOT, call, record_paths, records, started, study, the_run
from tests.fake_backend import LEDGER

KEYS = [f"{number:064x}" for number in range(200)]


def claims(folder: Path, cleared: list[str] | None = None, **limits: float) -> Claims:
    return Claims(folder, (cleared if cleared is not None else []).append, **limits)


def test_a_trial_is_claimed_once_and_given_back(tmp_path: Path) -> None:
    with claims(tmp_path / "claims") as one, claims(tmp_path / "claims") as other:
        assert one.take(KEYS[0]) and one.holds(KEYS[0])
        assert not other.take(KEYS[0]) and not other.holds(KEYS[0])
        other.release(KEYS[0])
        assert one.holds(KEYS[0])
        one.release(KEYS[0])
        assert other.take(KEYS[0])
    assert not (tmp_path / "claims").exists()


def test_a_folder_that_the_last_to_leave_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, leaving = Path.mkdir, [True]

    def mkdir_and_leave(path: Path, *arguments: Any, **settings: Any) -> None:
        mkdir(path, *arguments, **settings)
        while leaving:
            leaving.pop()
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir_and_leave)
    with claims(tmp_path / "claims") as mine:
        assert not leaving and mine.take(KEYS[0])


def claim_all(folder: Path, start: multiprocessing.synchronize.Event, out: Path) -> None:
    with claims(folder) as mine:
        start.wait()
        out.write_text(json.dumps([key for key in KEYS if mine.take(key)]))
        time.sleep(1)


def test_processes_that_race_share_the_trials_out(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, outs = context.Event(), [tmp_path / f"{number}.json" for number in range(4)]
    racers = [context.Process(target=claim_all, args=(tmp_path / "claims", start, out)) for out in outs]
    for racer in racers:
        racer.start()
    time.sleep(1)
    start.set()
    for racer in racers:
        racer.join(30)
    taken = Counter(key for out in outs for key in json.loads(out.read_text()))
    assert taken == dict.fromkeys(KEYS, 1)


CLAIMER = """\
import sys, time
from pathlib import Path
from common.ownership import Claims
with Claims(Path(sys.argv[1]), print) as mine:
    for key in sys.argv[2:]:
        assert mine.take(key)
    print("ready", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def claimer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the first three claims."""
    command = [sys.executable, "-c", CLAIMER, str(tmp_path / "claims"), *KEYS[:3]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_the_killed_lose_their_claims_at_once_and_the_stopped_keep_them(
    tmp_path: Path, claimer: subprocess.Popen[str]
) -> None:
    cleared: list[str] = []
    with claims(tmp_path / "claims", cleared) as mine:
        claimer.send_signal(signal.SIGSTOP)
        assert [owner.pid for owner in mine.look_round()] == [claimer.pid]
        assert not mine.take(KEYS[0])
        assert mine.take(KEYS[5]) and mine.accompanied(KEYS[5])
        claimer.kill()
        claimer.wait()
        assert mine.look_round() == []
        assert sorted(cleared) == KEYS[:3]
        assert all(mine.take(key) for key in KEYS[:3])
        assert not mine.accompanied(KEYS[0])
    assert not (tmp_path / "claims").exists()


def test_a_zombie_is_gone(tmp_path: Path, claimer: subprocess.Popen[str]) -> None:
    claimer.kill()
    deadline = time.monotonic() + 5
    while at_work(tmp_path / "claims"):
        assert time.monotonic() < deadline, "a process that nobody has waited for counts as living"
        time.sleep(0.01)


def on_another_machine(folder: Path) -> Owner:
    """Make a claim of a process that only its heartbeat shows to live."""
    owner = Owner(uuid.uuid4().hex, "elsewhere", "another boot", 1, 0.0)
    (folder / f"owner-{owner.id}").write_text(json.dumps(owner.__dict__))
    os.link(folder / f"owner-{owner.id}", folder / KEYS[0])
    return owner


def test_a_heartbeat_that_stands_still_is_a_process_gone_whatever_its_clock_says(tmp_path: Path) -> None:
    with claims(tmp_path / "claims", lease_s=0.5) as mine:
        owner = on_another_machine(tmp_path / "claims")
        for beat in range(3):
            os.utime(tmp_path / "claims" / f"owner-{owner.id}", (beat, beat))
            assert [other.host for other in mine.look_round()] == ["elsewhere"]
            assert mine.look_round(), "its clock is decades behind, and it has only just been seen"
            assert not mine.take(KEYS[0])
            time.sleep(0.3)
        time.sleep(0.4)
        assert mine.look_round() == []
        assert mine.take(KEYS[0])


def test_who_was_taken_for_gone_holds_its_claims_no_more_and_goes_on_with_others(tmp_path: Path) -> None:
    with claims(tmp_path / "claims", beat_s=0.1) as slept:
        assert slept.take(KEYS[0])
        (mine,) = (tmp_path / "claims").glob("owner-*")
        other = tmp_path / "claims" / f"{mine.name}~another"
        mine.rename(other)  # as a process does that buries it
        (tmp_path / "claims" / KEYS[0]).unlink()
        other.unlink()
        time.sleep(0.5)
        assert not slept.holds(KEYS[0])
        assert slept.take(KEYS[1]) and slept.holds(KEYS[1])


def test_who_was_killed_while_clearing_up_is_cleared_up_after(tmp_path: Path, claimer: subprocess.Popen[str]) -> None:
    folder = tmp_path / "claims"
    claimer.kill()
    claimer.wait()
    (dead,) = folder.glob("owner-*")
    dead.rename(folder / f"{dead.name}~somebody")
    with claims(folder) as mine:
        assert mine.look_round() == []
        assert all(mine.take(key) for key in KEYS[:3])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 1}', "[" * 100_000, '{"pid": 1e999}', "\xff"])
def test_an_owner_file_that_says_nothing_is_one_of_another_machine(tmp_path: Path, content: str) -> None:
    with claims(tmp_path / "claims", lease_s=0.2) as mine:
        (tmp_path / "claims" / "owner-x").write_text(content, encoding="latin-1")
        assert len(mine.look_round()) == 1
        time.sleep(0.3)
        assert mine.look_round() == []


# Whole runs


@pytest.mark.slow
def test_two_runs_of_200_trials_do_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEDGER, str(tmp_path / "ledger"))
    path = study(tmp_path, architecture=[f"ffn:{number}" for number in range(1, 11)], seeds=20, threads=1)
    command = ["--study", path, "--results", tmp_path / "results"]
    both = [started(*command, faults={}, mark=str(uuid.uuid4())) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    built = Counter((tmp_path / "ledger").read_text().splitlines())
    assert len(built) == 200 and set(built.values()) == {1}
    found = records(tmp_path / "results")
    assert len(found) == 200 and {record["status"] for record in found} == {"ok"}
    assert len({record["settings"]["pid"] for record in found if record["seed"]}) >= 2, "one process did it all"
    assert any(record["contended"] for record in found), "times beside another run count as undisturbed"
    assert outputs[0][0].splitlines()[:-1] == outputs[1][0].splitlines()[:-1], "the tables differ"
    assert not (the_run(tmp_path / "results") / "claims").exists()


def test_overwrite_is_refused_while_another_is_at_work(tmp_path: Path) -> None:
    path = study(tmp_path, architecture=["ffn:1", "ffn:2"])
    command = ["--study", path, "--results", tmp_path / "results"]
    process = started(*command, faults={"ffn:2": "sleep:3"}, mark=str(uuid.uuid4()))
    deadline = time.monotonic() + 60
    while not record_paths(tmp_path / "results"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    refused = call(*command, "--overwrite")
    assert refused.status == 2 and f"process {process.pid} on" in refused.err
    assert process.communicate(timeout=60) and process.returncode == 0
    assert call(*command, "--overwrite").status == 0
