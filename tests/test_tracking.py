"""Tracking: what TensorBoard and MLflow read back, each by its own API, is what the records hold, and there once."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backends
from common import studies
from common.executor import LocalExecutor
from common.jobs import Job, Terms
from common.lanes import _Lane
from tests.command import ROOT, call, record_paths, records, started, study, the_run
from tests.fake_backend import FAULTS, registered

WHY = "{} is not installed: python -m pip install -r requirements-tracking.txt"
tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason=WHY.format("tensorboard"))
mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason=WHY.format("mlflow"))
TRACK = ("--track", "tensorboard", "--track", "mlflow")

SERIES = {
    "train_loss": ("loss/train", "train_loss"),
    "val_log_loss": ("loss/validation", "val_loss"),
    "val_accuracy": ("accuracy/validation", "val_accuracy"),
    "epoch_s": ("time/epoch_s", "epoch_s"),
}
FINAL = {
    "test_accuracy": ("accuracy/test", "test_accuracy"),
    "test_log_loss": ("loss/test", "test_loss"),
    "test_f1_macro": ("f1_macro/test", "test_f1_macro"),
    "fit_s": ("final/fit_s", "fit_s"),
    "parameters": ("final/parameters", "parameters"),
    "model_bytes": ("final/model_bytes", "model_bytes"),
}
"""A record's names, and what they are in TensorBoard and in MLflow."""

CODE = "<script>alert('ü')</script>"


def tensorboard_runs(run: Path) -> dict[str, Any]:
    """Return what TensorBoard's own reader finds, by directory."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    found = EventMultiplexer().AddRunsFromDirectory(str(run / "tensorboard")).Reload()
    return {name: found.GetAccumulator(name) for name in found.Runs()}


def mlflow_client(run: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return MLflow's client of a run's store."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(run)  # where the client makes a folder for artefacts, needed or not
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{run / 'mlflow.db'}")


def mlflow_runs(client: Any) -> dict[str, Any]:
    """Return the runs in a store by their trial's key, none twice."""
    experiments = [found.experiment_id for found in client.search_experiments()]
    found = client.search_runs(experiments)
    keys = [run.data.tags["samenet.key"] for run in found]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, found, strict=True))


def of_key(runs: dict[str, Any], key: str) -> Any:
    """Return the only one of TensorBoard's runs that is of the trial `key`."""
    (found,) = [run for name, run in runs.items() if name.endswith(key[:8])]
    return found


def history(results: Path, key: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads(
        (the_run(results) / "trials" / key[:2] / key / "history.json").read_text()
    )
    return found


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's settings as its specification has them, without what is null."""
    from config import Trial

    return {name: value for name, value in Trial.model_validate(record["spec"]).flat().items() if value is not None}


def plugin_data(run: Any, tag: str) -> Any:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    return HParamsPluginData.FromString(run.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], Path]:
    """A run of two frameworks, a trial that broke and an unsupported one, tracked by both."""
    pytest.importorskip("tensorboard", reason=WHY.format("tensorboard"))
    pytest.importorskip("mlflow", reason=WHY.format("mlflow"))
    folder = tmp_path_factory.mktemp("tracked")
    training = {"epochs": 3, "optimizer": "adam", "learning_rate": [0.01, 0.001]}
    real = {"backend": ["sklearn", "torch"], "architecture": "ffn:16", "training": training}
    fake = {"architecture": ["ffn:1", {"name": "ffn:2", "dropout": 0.5}]}
    path = study(folder, grids=[real, fake], question=CODE)
    command = ["--study", path, "--results", folder / "results", "--threads", 1, *TRACK]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAULTS, '{"ffn:1": "exception"}')
        outcome = call(*command)
    assert outcome.status == 1, outcome.err
    assert "warning" not in outcome.err
    assert [record["status"] for record in records(folder / "results")].count("ok") == 4
    return command, folder / "results"


@pytest.fixture
def copied(tracked: tuple[list[object], Path], tmp_path: Path) -> tuple[list[object], Path]:
    """The command of the tracked run, on a copy of its results."""
    command, results = tracked
    shutil.copytree(results, tmp_path / "results")
    return [*command[:3], tmp_path / "results", *command[4:]], tmp_path / "results"


def ran(results: Path) -> list[dict[str, Any]]:
    """Return the records of trials that a tracker has: an unsupported one never ran."""
    return [record for record in records(results) if record["status"] != "unsupported"]


def well(results: Path) -> list[dict[str, Any]]:
    return [record for record in records(results) if record["status"] == "ok"]


# What is there


def test_tensorboard_holds_the_records_figures(tracked: tuple[list[object], Path]) -> None:
    _, results = tracked
    runs = tensorboard_runs(the_run(results))
    assert len(runs) == len(ran(results)) == 5
    for record in well(results):
        run, epochs = of_key(runs, record["key"]), history(results, record["key"])
        for name, (tag, _) in SERIES.items():
            scalars = run.Scalars(tag)
            assert [scalar.step for scalar in scalars] == [1, 2, 3]
            assert [scalar.value for scalar in scalars] == [np.float32(value) for value in epochs[name]]
            gaps = np.diff([scalar.wall_time for scalar in scalars])
            assert gaps == pytest.approx(epochs["epoch_s"][1:], abs=1e-5), "the time axis is not that of training"
        for name, (tag, _) in FINAL.items():
            assert [scalar.value for scalar in run.Scalars(tag)] == [np.float32(record[name])]
        assert run.Scalars("accuracy/test")[0].step == record["epochs"]


def test_tensorboard_has_each_trials_settings_and_how_it_ended(tracked: tuple[list[object], Path]) -> None:
    from google.protobuf.json_format import MessageToDict
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS

    _, results = tracked
    runs = tensorboard_runs(the_run(results))
    for record in ran(results):
        run = of_key(runs, record["key"])
        start = plugin_data(run, "session_start_info").session_start_info
        assert {name: MessageToDict(value) for name, value in start.hparams.items()} == flat(record)
        ok = record["status"] == "ok"
        ended = plugin_data(run, "session_end_info").session_end_info
        assert ended.status == (STATUS_SUCCESS if ok else STATUS_FAILURE)
        assert ended.end_time_secs - start.start_time_secs == pytest.approx(record["trial_s"], abs=1e-3)
        texts = [
            event.tensor_proto.string_val[0].decode()
            for tag in run.Tags()["tensors"]
            if tag == "error"
            for event in run.Tensors(tag)
        ]
        assert len(texts) == (not ok)
        assert all("RuntimeError: the fake broke" in text for text in texts)


def test_tensorboard_directories_are_named_by_what_differs(tracked: tuple[list[object], Path]) -> None:
    _, results = tracked
    for record in well(results):
        (name,) = [name for name in tensorboard_runs(the_run(results)) if name.endswith(record["key"][:8])]
        assert name.startswith(f"{record['backend']}-{record['architecture'].replace(':', '-')}-")
        assert f"lr-{record['learning_rate']:g}" in name
        assert f"seed-{record['seed']}" in name
        assert re.fullmatch(r"[\w.+=-]+", name)


def test_mlflow_holds_the_records_figures(tracked: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, results = tracked
    client = mlflow_client(the_run(results), monkeypatch)
    runs = mlflow_runs(client)
    assert set(runs) == {record["key"] for record in ran(results)}
    for record in well(results):
        run, epochs = runs[record["key"]], history(results, record["key"])
        assert run.info.status == "FINISHED"
        assert run.data.params == {name: str(value) for name, value in flat(record).items()}
        for name, (_, metric) in SERIES.items():
            found = client.get_metric_history(run.info.run_id, metric)
            assert [point.step for point in found] == [1, 2, 3]
            assert [point.value for point in found] == epochs[name]
        for name, (_, metric) in FINAL.items():
            (point,) = client.get_metric_history(run.info.run_id, metric)
            assert (point.step, point.value) == (record["epochs"], record[name])
        assert run.info.end_time - run.info.start_time == pytest.approx(1000 * record["trial_s"], abs=2)


def test_mlflow_names_experiment_runs_and_tags_as_it_does(
    tracked: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, results = tracked
    client = mlflow_client(the_run(results), monkeypatch)
    experiment = client.get_experiment_by_name("fakes")
    assert experiment.tags["mlflow.note.content"] == CODE
    assert {run.info.experiment_id for run in mlflow_runs(client).values()} == {experiment.experiment_id}
    for record in ran(results):
        run = mlflow_runs(client)[record["key"]]
        name = f"{record['backend']} {record['architecture']} ("
        assert run.info.run_name.startswith(name)
        assert run.info.run_name.endswith(f"), seed {record['seed']}")
        assert run.data.tags["mlflow.runName"] == run.info.run_name
        assert run.data.tags["mlflow.source.name"] == "compare.py"
        assert run.data.tags["mlflow.source.type"] == "LOCAL"
        assert run.data.tags.get("mlflow.source.git.commit") == record["commit"]
        assert run.data.tags["samenet.status"] == record["status"]


def test_mlflow_keeps_the_record_beside_its_store(
    tracked: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, results = tracked
    client = mlflow_client(the_run(results), monkeypatch)
    for record in well(results):
        run = mlflow_runs(client)[record["key"]]
        assert the_run(results).as_uri() in run.info.artifact_uri
        assert {found.path for found in client.list_artifacts(run.info.run_id)} == {"record.json", "history.json"}
        kept = client.download_artifacts(run.info.run_id, "record.json", str(tmp_path))
        assert json.loads(Path(kept).read_text()) == record


def test_a_failed_trial_is_failed_in_mlflow_with_its_error(
    tracked: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, results = tracked
    client = mlflow_client(the_run(results), monkeypatch)
    (record,) = [record for record in records(results) if record["status"] == "failed"]
    run = mlflow_runs(client)[record["key"]]
    assert run.info.status == "FAILED"
    assert "RuntimeError: the fake broke" in run.data.tags["mlflow.note.content"]
    assert run.data.params["architecture"] == "ffn:1"
    assert "test_accuracy" not in run.data.metrics


def test_nothing_is_written_elsewhere(tracked: tuple[list[object], Path]) -> None:
    _, results = tracked
    names = {path.name for path in the_run(results).iterdir()}
    assert names >= {"tensorboard", "mlflow.db", "mlflow-artifacts"}
    assert not (ROOT / "mlruns").exists()
    assert not (ROOT / "mlartifacts").exists()


# Once


def state(run: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[Path, int], set[str]]:
    """Return the event files with their times, and the identities of MLflow's runs."""
    client = mlflow_client(run, monkeypatch)
    events = {path: path.stat().st_mtime_ns for path in (run / "tensorboard").rglob("*") if path.is_file()}
    return events, {found.info.run_id for found in mlflow_runs(client).values()}


def test_the_same_command_tracks_nothing_again(
    copied: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, results = copied
    before = state(the_run(results), monkeypatch)
    assert call(*command).status == 1
    assert state(the_run(results), monkeypatch) == before


def test_a_finished_run_is_tracked_afterwards(
    copied: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, results = copied
    run = the_run(results)
    before = {path: path.stat().st_mtime_ns for path in record_paths(results)}
    gone = records(results)[0]["key"]
    shutil.rmtree(run / "tensorboard")
    (run / "mlflow.db").unlink()
    again = call(*command[:6], "--track", "mlflow")
    assert (again.status, again.err) == (1, "")
    assert set(mlflow_runs(mlflow_client(run, monkeypatch))) == {record["key"] for record in ran(results)}
    assert not (run / "tensorboard").exists()
    assert call(*command).status == 1
    assert len(tensorboard_runs(run)) == 5
    assert {path: path.stat().st_mtime_ns for path in record_paths(results)} == before, gone


def test_what_was_cut_short_is_tracked_anew_and_once(
    copied: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, results = copied
    run = the_run(results)
    client = mlflow_client(run, monkeypatch)
    key, half = next(iter(mlflow_runs(client).items()))
    client.update_run(half.info.run_id, status="RUNNING")  # as a kill between its figures and its end leaves it
    (events,) = (run / "tensorboard").glob(f"*{key[:8]}/*")
    events.rename(events.with_name(".half"))
    assert call(*command).status == 1
    found = mlflow_runs(client)
    assert len(found) == 5
    assert found[key].info.status in ("FINISHED", "FAILED")
    assert found[key].info.run_id != half.info.run_id
    assert len(tensorboard_runs(run)) == 5
    assert events.is_file()


def test_a_retried_trial_takes_the_place_of_the_failed_one(
    copied: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, results = copied
    run = the_run(results)
    assert call(*command, "--retry-failed").status == 0
    (record,) = [record for record in records(results) if record["architecture"] == "ffn:1"]
    found = mlflow_runs(mlflow_client(run, monkeypatch))
    assert len(found) == 5
    assert found[record["key"]].info.status == "FINISHED"
    assert found[record["key"]].data.metrics["test_accuracy"] == record["test_accuracy"]
    accumulator = of_key(tensorboard_runs(run), record["key"])
    assert [scalar.value for scalar in accumulator.Scalars("accuracy/test")] == [np.float32(record["test_accuracy"])]
    assert "error" not in accumulator.Tags()["tensors"]


KILLED_WRITE = """
import os, sys
from pathlib import Path
from common import store
os.replace = lambda *_: os._exit(9)
Path.replace = lambda *_: os._exit(9)
store.write_atomically(Path(sys.argv[1]), b"half a trial")
"""


def test_a_write_that_was_killed_is_no_event_file(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.0123456789abcdef"
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITE, str(path)], cwd=ROOT, check=False)
    assert killed.returncode == 9
    (left,) = tmp_path.iterdir()
    assert "tfevents" not in left.name  # by which TensorBoard knows what to read


@tensorboard
@mlflow
@pytest.mark.slow
@pytest.mark.parametrize("pause_s", [0, 0.1, 0.4])
def test_killed_and_resumed_nothing_is_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause_s: float
) -> None:
    results = tmp_path / "results"
    command = ["--study", study(tmp_path, architecture=["ffn:1", "ffn:2"], seeds=3), "--results", results, *TRACK]
    process = started(*command, faults={}, mark=str(uuid.uuid4()))
    try:
        deadline = time.monotonic() + 300
        while len(record_paths(results)) < 3 and process.poll() is None:
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.01)
        time.sleep(pause_s)
    finally:
        process.kill()
        process.communicate()
    before = len(records(results))
    resumed = call(*command)
    assert resumed.status == 0, resumed.err
    assert 3 <= before <= len(records(results)) == 6
    assert "warning" not in resumed.err
    runs = tensorboard_runs(the_run(results))
    found = mlflow_runs(mlflow_client(the_run(results), monkeypatch))
    assert len(runs) == len(found) == 6
    for record in records(results):
        assert len(of_key(runs, record["key"]).Scalars("loss/train")) == 2
        assert found[record["key"]].info.status == "FINISHED"
        assert found[record["key"]].data.metrics["test_accuracy"] == record["test_accuracy"]


def test_no_trial_begins_before_the_one_before_is_dealt_with(tmp_path: Path) -> None:
    with registered():
        path = study(tmp_path, architecture="ffn:1", seeds=3)
        plan = studies.plan(studies.read(str(path)), {}, backends.vocabulary(), None, {"threads": [1]})
        folders = [tmp_path / str(trial.seed) for trial in plan.trials]
        jobs = [Job([trial], [folder]) for trial, folder in zip(plan.trials, folders, strict=True)]
        finished = LocalExecutor(Terms()).run(iter(jobs))
        assert next(finished)["seed"] == 0
        time.sleep(1)  # far longer than its lane needs to begin the next, were it free to
        assert [folder.exists() for folder in folders] == [True, False, False]
        assert next(finished)["seed"] == 1
        assert isinstance(finished, Generator)
        finished.close()
    assert [thread for thread in threading.enumerate() if isinstance(thread, _Lane)] == []


# Mistakes and trouble


def command(folder: Path, *more: object) -> list[object]:
    return ["--study", study(folder, architecture="ffn:1"), "--results", folder / "results", *more]


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "tensorboard"), ("mlflow", "sqlalchemy")])
def test_what_is_not_installed_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as Python marks what cannot be imported
    outcome = call(*command(tmp_path, "--track", name))
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert f"track: {name} needs " in outcome.err
    assert module in outcome.err
    assert "pip install -r requirements-tracking.txt" in outcome.err
    assert not (tmp_path / "results").exists()


def test_an_unknown_tracker_is_a_mistake(tmp_path: Path) -> None:
    outcome = call(*command(tmp_path, "--track", "tensorbord"))
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert "track: 'tensorbord' is not known; did you mean 'tensorboard'?" in outcome.err
    assert not (tmp_path / "results").exists()


@tensorboard
def test_trouble_of_a_tracker_ends_no_training(tmp_path: Path) -> None:
    first = command(tmp_path)
    assert call(*first).status == 0
    run = the_run(tmp_path / "results")
    (run / "tensorboard").write_text("in the way")
    record_paths(tmp_path / "results")[0].unlink()
    outcome = call(*first, "--track", "tensorboard")
    assert outcome.status == 0
    assert len(records(tmp_path / "results")) == 1
    (warning,) = [line for line in outcome.err.splitlines() if "warning" in line]
    assert "track: tensorboard did not take 1 trials (" in warning
    (run / "tensorboard").unlink()
    assert call(*first, "--track", "tensorboard").status == 0
    assert len(tensorboard_runs(run)) == 1


@mlflow
def test_a_store_that_cannot_be_read_is_said_in_a_line(tmp_path: Path) -> None:
    first = command(tmp_path)
    assert call(*first).status == 0
    (the_run(tmp_path / "results") / "mlflow.db").write_bytes(b"no database, but long enough to be taken for one" * 99)
    outcome = call(*first, "--track", "mlflow")
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert "mlflow.db cannot be opened" in outcome.err
    assert "move it away" in outcome.err


@tensorboard
@mlflow
def test_trackers_bring_no_framework_into_the_harness(tmp_path: Path) -> None:
    script = (
        "import sys, compare\nfrom tests.fake_backend import registered\n"
        "with registered():\n    compare.main(sys.argv[1:])\n"
        "print(sorted({'tensorflow', 'torch', 'keras', 'jax'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, *map(str, command(tmp_path, *TRACK, "--quiet", "--no-report"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stderr == "[]\n", "and nothing else is said there"


# Its own program


@tensorboard
@pytest.mark.slow
def test_tensorboards_own_server_shows_the_run(tracked: tuple[list[object], Path], tmp_path: Path) -> None:
    _, results = tracked
    logdir = the_run(results) / "tensorboard"
    arguments: Sequence[object] = ("--logdir", logdir, "--host", "127.0.0.1", "--port", 0, "--load_fast", "false")
    with (tmp_path / "said").open("w+") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", *map(str, arguments)],
            stdout=said,
            stderr=said,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        try:
            address = wait_for_address(tmp_path / "said", server)
            tags = wait_for_runs(address, 5)
            for record in well(results):
                (found,) = [tags[name] for name in tags if name.endswith(record["key"][:8])]
                assert set(found) >= {"loss/train", "loss/validation", "accuracy/validation", "accuracy/test"}
            rows = fetch(f"{address}/data/plugin/hparams/session_groups", HPARAMS)["sessionGroups"]
            accuracies = [
                metric["value"]
                for row in rows
                for metric in row["metricValues"]
                if metric["name"]["tag"] == "accuracy/test"
            ]
            assert sorted(accuracies) == sorted(np.float32(record["test_accuracy"]) for record in well(results))
        finally:
            server.terminate()
            server.wait(timeout=30)


HPARAMS = {
    "experimentName": "",
    "allowedStatuses": ["STATUS_SUCCESS"],
    "colParams": [],
    "startIndex": 0,
    "sliceSize": 100,
}


def wait_for_address(log: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 120
    while (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())) is None:
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    return found[0]


def wait_for_runs(address: str, count: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while len(tags := fetch(f"{address}/data/plugin/scalars/tags")) < count:
        assert time.monotonic() < deadline, tags
        time.sleep(0.5)
    return tags


def fetch(address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
