"""Every measured figure against a known answer: memory allocated, a sleep, a doubled width, a case counted by hand."""

from __future__ import annotations

import json
import math
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import backends
from backends.base import Array, Backend, Runtime, total_flops
from common import data, measure
from common.course import scores
from common.measure import WATTS_PER_CPU_SECOND, PeakMemory, TrainingMeter, fenced, inference
from common.trial import messages, run_trial, warned
from config import Trial
from tests.command import call, records, study
from tests.fake_backend import FAULTS


def digits_trial(architecture: str, **training: Any) -> Trial:
    settings = {"epochs": 4, "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.5, **training}
    fields = {"backend": "fake", "architecture": architecture, "dataset": "digits", "rows": 300, "training": settings}
    return Trial.model_validate(fields)


def run(trial: Trial, backend: Backend, directory: Path) -> dict[str, Any]:
    record = run_trial(trial, backend, data.load("digits"), directory, fresh=False)
    assert record["status"] == "ok", record["error"]
    return record


# Times


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Records of trials that hold 200 MB, that sleep in each epoch, and that do neither, each in a fresh process."""
    folder = tmp_path_factory.mktemp("measured")
    faults = {"ffn:1": "allocate:200", "ffn:2": "sleep:0.2", "ffn:3": "predict:0.1"}
    path = study(folder, architecture=[*faults, "ffn:4"], training={"epochs": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAULTS, json.dumps(faults))
        assert call("--study", path, "--results", folder / "results").status == 0
    return {record["architecture"]: record for record in records(folder / "results")}


def test_200_mb_allocated_are_200_mb_of_rise(measured: dict[str, dict[str, Any]]) -> None:
    holding, plain = measured["ffn:1"], measured["ffn:4"]
    assert 190 < holding["memory_rise_mb"] < 260
    assert plain["memory_rise_mb"] < 60
    assert holding["peak_memory_mb"] - holding["idle_memory_mb"] == pytest.approx(holding["memory_rise_mb"])
    assert holding["idle_memory_mb"] == pytest.approx(plain["idle_memory_mb"], abs=60)
    assert holding["memory_method"] in ("VmHWM", "sampled")


def test_sleep_in_each_epoch_is_fit_time(measured: dict[str, dict[str, Any]]) -> None:
    asleep = measured["ffn:2"]
    assert 0.2 <= asleep["epoch_s"] < 0.6
    assert 4 * 0.2 <= asleep["fit_s"] < 4 * 0.6
    assert 0.2 <= asleep["first_step_s"] < 0.6
    assert asleep["cpu_s"] < 0.4, "sleeping is no CPU time"
    assert asleep["trial_s"] >= asleep["fit_s"] + asleep["first_step_s"] + asleep["evaluate_s"]
    assert measured["ffn:4"]["fit_s"] < 0.4


def test_evaluation_is_not_in_fit_time(measured: dict[str, dict[str, Any]]) -> None:
    slow = measured["ffn:3"]
    assert slow["fit_s"] < 0.4 <= slow["evaluate_s"]
    assert slow["first_step_s"] < 0.4
    assert 100 <= slow["latency_ms_p50"] <= slow["latency_ms_p95"] < 1000
    assert 1024 / 0.5 < slow["throughput_per_s"] <= 1024 / 0.1


def test_every_figure_is_there_for_a_sound_trial(measured: dict[str, dict[str, Any]]) -> None:
    record = measured["ffn:4"]
    null = {name for name, value in record.items() if value is None}
    not_asked_for = {"engine", "rows", "input_size", "pca", "epsilon"}
    not_reached = {f"{name}_to_{level}" for name in ("epochs", "fit_s") for level in (97, 98, 99)}
    assert null <= not_asked_for | not_reached | {"error", "device_memory_mb", "differs", "batched"}


class Tape:
    """A clock and a fence that write down when they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.now = 0.0
        clock = SimpleNamespace(perf_counter=self._clock, process_time=lambda: self.now / 2)
        monkeypatch.setattr(measure, "time", clock)
        monkeypatch.setattr(measure, "_rapl_counters", lambda: ())

    def _clock(self) -> float:
        self.events.append("clock")
        return self.now

    def synchronise(self) -> None:
        """Finish the work that the device still had to do, which takes 2 s."""
        self.events.append("fence")
        self.now += 2

    def work(self, seconds: float) -> None:
        self.events.append("work")
        self.now += seconds


def test_fence_stands_before_both_clock_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape(monkeypatch)
    with fenced(tape.synchronise) as elapsed:
        tape.work(5)
    assert tape.events == ["fence", "clock", "work", "fence", "clock"]
    assert elapsed.seconds == 7, "what the device had to finish is time of the work, what came before is not"


def test_meter_fences_each_epoch_and_stands_still_between(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape(monkeypatch)
    meter = TrainingMeter(tape.synchronise)
    for seconds in (3, 4):
        meter.resume()
        tape.work(seconds)
        meter.pause()
        tape.work(100)
    assert tape.events == ["fence", "clock", "work", "fence", "clock", "work"] * 2
    assert meter.epoch_s == [5, 6]
    assert sum(meter.epoch_s) == 11
    assert meter.cpu_s == 5.5


@pytest.mark.parametrize(("seconds", "singles"), [(0.002, 210), (0.3, 14)])
def test_latency_and_throughput(seconds: float, singles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tape, asked, fences = Tape(monkeypatch), list[int](), [0]

    def predict(inputs: Array) -> None:
        asked.append(len(inputs))
        tape.work(seconds)

    def fence() -> None:
        fences[0] += 1

    found = inference(predict, np.zeros((7, 4)), fence)
    assert found["latency_ms_p50"] == pytest.approx(1e3 * seconds) == found["latency_ms_p95"]
    assert found["throughput_per_s"] == pytest.approx(1024 / seconds)
    assert set(asked) == {1, 1024}
    assert asked.count(1) == singles, "10 to warm up, then 200 or a second's"
    warm_up = 10 + 1
    assert fences[0] == 2 * (len(asked) - warm_up)


def test_energy_of_a_trial_agrees_with_its_method(measured: dict[str, dict[str, Any]]) -> None:
    for record in measured.values():
        assert record["energy_method"].startswith(("estimated: ", "measured: "))
        if record["energy_method"].startswith("estimated"):
            assert record["energy_j"] == pytest.approx(record["cpu_s"] * WATTS_PER_CPU_SECOND)


# Memory in this process


def test_peak_is_seen_after_it_is_over() -> None:
    memory = PeakMemory()
    held = np.ones(int(150e6), np.uint8)
    del held
    assert 140 < memory.peak_mb() - memory.idle_mb < 300


def test_peak_before_the_start_is_not_counted() -> None:
    held = np.ones(int(300e6), np.uint8)
    del held
    memory = PeakMemory()
    assert memory.peak_mb() - memory.idle_mb < 100


def test_peak_is_sampled_where_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise PermissionError(str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    memory = PeakMemory()
    held = np.ones(int(150e6), np.uint8)
    time.sleep(0.1)
    del held
    assert memory.method == "sampled"
    assert 140 < memory.peak_mb() - memory.idle_mb < 300


# Size


def test_doubled_width_doubles_size(tmp_path: Path) -> None:
    backend = backends.load("sklearn")(Runtime())
    backend.start()
    found = {}
    for width in (64, 128):
        (tmp_path / str(width)).mkdir()
        found[width] = run(digits_trial(f"ffn:{width}", epochs=1), backend, tmp_path / str(width))
        assert found[width]["parameters"] == 64 * width + width + width * 10 + 10
        assert found[width]["flops_per_sample"] == 2 * (64 * width + width * 10)
    assert found[128]["flops_per_sample"] == 2 * found[64]["flops_per_sample"]
    weights = 4 * (found[128]["parameters"] - found[64]["parameters"])
    assert found[128]["model_bytes"] - found[64]["model_bytes"] == pytest.approx(weights, rel=0.1)
    assert found[64]["model_bytes"] >= 4 * found[64]["parameters"]


# Scores


def test_scores_of_a_case_counted_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 1, 1, 1, 0, 2])
    found = scores(labels, np.eye(3)[predicted] * 0.7 + 0.1)
    # class 0: 1 of 2 right, 2 predicted; class 1: 2 of 2, 3; class 2: 1 of 2, 1
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["precision_macro"] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert found["recall_macro"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert found["f1_macro"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    assert found["log_loss"] == pytest.approx(-(4 * math.log(0.8) + 2 * math.log(0.1)) / 6)


def test_scores_count_an_absent_class_as_zero() -> None:
    labels = np.array([0, 0, 1, 1])
    found = scores(labels, np.eye(3)[labels] * 0.7 + 0.1)
    assert found["accuracy"] == 1
    assert found["f1_macro"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx(-math.log(0.8))


def test_scores_of_perfect_and_of_hopeless_predictions_are_finite() -> None:
    labels = np.array([0, 1])
    assert scores(labels, np.eye(2, dtype=np.float32)[labels])["log_loss"] == pytest.approx(0, abs=1e-6)
    assert 10 < scores(labels, np.eye(2, dtype=np.float32)[1 - labels])["log_loss"] < 1000


def test_scores_of_nan_are_those_of_guessing() -> None:
    found = scores(np.array([0, 1, 2, 3]), np.full((4, 4), np.nan, np.float32))
    assert found["log_loss"] == pytest.approx(math.log(4))


def test_deprecations_are_kept_from_those_who_train() -> None:
    with warned() as caught:
        warnings.warn("of an old interface", DeprecationWarning, stacklevel=1)
        warnings.warn("of the data", UserWarning, stacklevel=1)
    assert messages(caught) == ["UserWarning: of the data"]


def test_flops_of_a_network_are_known_where_those_of_all_its_layers_are() -> None:
    assert total_flops([3, 0, 4]) == 7 and total_flops([0]) == 0
    assert total_flops([3, None]) is None and total_flops([]) is None
