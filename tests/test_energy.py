"""Energy: estimated from CPU time where no counter is, else read from counters of packages and GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pynvml
import pytest
from test_measure import Tape

from common import measure
from common.measure import WATTS_PER_CPU_SECOND, TrainingMeter


def test_energy_without_a_counter_is_estimated_from_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape(monkeypatch)
    meter = TrainingMeter(tape.synchronise)
    meter.resume()
    tape.work(4)
    meter.pause()
    assert meter.cpu_s == 3
    assert meter.energy() == (3 * WATTS_PER_CPU_SECOND, "estimated: 10 W x CPU seconds")


@pytest.fixture
def counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Two packages' energy counters, as files, and one that counts both again; the fixture sets them, in microjoules."""
    monkeypatch.setattr(measure, "_RAPL", tmp_path)
    measure._rapl_counters.cache_clear()

    def write(first: int, second: int) -> None:
        zones = {"package-0": first, "psys": first + second, "package-1": second}
        for number, (name, value) in enumerate(zones.items()):
            (tmp_path / f"intel-rapl:{number}").mkdir(exist_ok=True)
            (tmp_path / f"intel-rapl:{number}" / "name").write_text(f"{name}\n")
            (tmp_path / f"intel-rapl:{number}" / "energy_uj").write_text(f"{value}\n")

    write(0, 0)
    yield write
    measure._rapl_counters.cache_clear()


def test_energy_is_read_from_counters_where_there_are_any(counters: Callable[[int, int], None]) -> None:
    meter = TrainingMeter(lambda: None)
    meter.resume()
    counters(3_000_000, 1_500_000)
    meter.pause()
    counters(90_000_000, 90_000_000)  # between epochs, nobody counts
    meter.resume()
    counters(91_000_000, 90_000_000)
    meter.pause()
    assert meter.energy() == (5.5, "measured: RAPL, package")


def test_energy_counter_that_wraps_around_is_not_believed(counters: Callable[[int, int], None]) -> None:
    counters(9_000_000, 9_000_000)
    meter = TrainingMeter(lambda: None)
    meter.resume()
    counters(1_000_000, 9_500_000)
    meter.pause()
    meter.resume()
    counters(2_000_000, 9_500_000)
    meter.pause()
    assert meter.energy()[1].startswith("estimated")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A GPU's energy counter, in a list of one number in millijoules, that NVML reads under the index CUDA shows."""
    counter = [0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: f"GPU {index}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: {"GPU 3": counter}[handle][0])
    measure._gpu_counter.cache_clear()
    yield counter
    measure._gpu_counter.cache_clear()


def test_energy_on_a_gpu_is_the_gpus_and_the_packages(counters: Callable[[int, int], None], gpu: list[int]) -> None:
    meter = TrainingMeter(lambda: None, gpu=True)
    meter.resume()
    counters(3_000_000, 1_500_000)
    gpu[0] = 20_000
    meter.pause()
    assert meter.energy() == (24.5, "measured: RAPL, package; NVML, GPU")


def test_energy_on_a_gpu_is_measured_where_the_packages_is_not(gpu: list[int]) -> None:
    meter = TrainingMeter(lambda: None, gpu=True)
    meter.resume()
    gpu[0] = 20_000
    meter.pause()
    assert meter.energy() == (20.0, "measured: NVML, GPU")


def test_energy_on_a_gpu_that_cannot_be_read_is_not_estimated_from_cpu_time(
    counters: Callable[[int, int], None], gpu: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    meter = TrainingMeter(lambda: None, gpu=True)
    meter.resume()
    counters(3_000_000, 1_500_000)
    meter.pause()
    assert meter.energy() == (None, None)
