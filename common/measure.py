"""Clock fence, peak memory, energy, latency: every figure that is measured rather than computed."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

WATTS_PER_CPU_SECOND = 10.0
"""Power of one busy core where no counter can be read: an assumption, and every figure made with it says so."""

_RAPL = Path("/sys/class/powercap")
_LATENCY_CALLS, _LATENCY_WARMUP, _LATENCY_S = 200, 10, 1.0
_THROUGHPUT_ROWS, _THROUGHPUT_S = 1024, 0.2


@dataclass
class Elapsed:
    """Seconds between the two fences; filled in when the block ends."""

    seconds: float = 0.0


@contextlib.contextmanager
def fenced(synchronise: Callable[[], None]) -> Iterator[Elapsed]:
    """Time a block between two fences: nothing asked of the device before it is counted, all asked within it is."""
    elapsed = Elapsed()
    synchronise()
    start = time.perf_counter()
    yield elapsed
    synchronise()
    elapsed.seconds = time.perf_counter() - start


@dataclass
class TrainingMeter:
    """Wall time, CPU time and energy of training alone: paused while the harness evaluates.

    Attributes
    ----------
    synchronise : the backend's fence.
    gpu : whether it trains on a GPU, whose energy is then part of the whole.
    epoch_s : wall seconds of each epoch.
    """

    synchronise: Callable[[], None]
    gpu: bool = False
    epoch_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    joules: float | None = 0.0

    def resume(self) -> None:
        """Start counting."""
        self.synchronise()
        self._joules, self._cpu, self._wall = _joules(self.gpu), time.process_time(), time.perf_counter()

    def pause(self) -> None:
        """Stop counting: one more epoch is over."""
        self.synchronise()
        self.epoch_s.append(time.perf_counter() - self._wall)
        self.cpu_s += time.process_time() - self._cpu
        before, after = self._joules, _joules(self.gpu)
        if before is None or after is None or after < before or self.joules is None:
            self.joules = None  # no counter, or one that wrapped around: no figure
        else:
            self.joules += after - before

    def energy(self) -> tuple[float, str] | tuple[None, None]:
        """Return joules and how they were found: read from RAPL and NVML, or CPU seconds times an assumed power.

        Of a GPU that cannot be read nothing is known: CPU seconds say nothing of it.
        """
        if self.joules is not None:
            read = [*(["RAPL, package"] if _rapl_counters() else []), *(["NVML, GPU"] if self.gpu else [])]
            return self.joules, f"measured: {'; '.join(read)}"
        if self.gpu:
            return None, None
        return self.cpu_s * WATTS_PER_CPU_SECOND, f"estimated: {WATTS_PER_CPU_SECOND:g} W x CPU seconds"


def _joules(gpu: bool) -> float | None:
    package = _rapl_joules()
    if not gpu:
        return package
    read = _gpu_counter()
    return None if read is None else (package or 0.0) + read() / 1e3


@functools.cache
def _gpu_counter() -> Callable[[], int] | None:
    """Return what reads the millijoules of the GPU that CUDA shows first; None where NVML cannot (before Volta)."""
    import pynvml

    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    try:
        pynvml.nvmlInit()
        device = (
            pynvml.nvmlDeviceGetHandleByIndex(int(first))
            if first.isdigit()
            else pynvml.nvmlDeviceGetHandleByUUID(first)
        )
        read: Callable[[], int] = functools.partial(pynvml.nvmlDeviceGetTotalEnergyConsumption, device)
        read()
    except pynvml.NVMLError:
        return None
    return read


@functools.cache
def _rapl_counters() -> tuple[Path, ...]:
    readable = []
    for zone in sorted(_RAPL.glob("intel-rapl:?")):
        with contextlib.suppress(OSError, ValueError):
            counter = zone / "energy_uj"
            int(counter.read_text())
            if (zone / "name").read_text().startswith("package"):  # psys, the whole platform, holds the packages
                readable.append(counter)
    return tuple(readable)


def _rapl_joules() -> float | None:
    counters = _rapl_counters()
    return sum(int(counter.read_text()) for counter in counters) / 1e6 if counters else None


class PeakMemory:
    """Peak resident memory of this process from here on, in MB.

    The kernel's high-water mark is reset through ``/proc/self/clear_refs`` (see ``man 5 proc``); where that is refused
    a thread samples the resident size instead, and may miss short peaks.
    """

    def __init__(self) -> None:
        self.idle_mb = resident_mb()
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self.method = "VmHWM"
        except OSError:
            self.method = "sampled"
            self._sampler = _Sampler()

    def peak_mb(self) -> float:
        """Return the highest resident size since this object was made."""
        return _status_mb("VmHWM") if self.method == "VmHWM" else self._sampler.stop()


class _Sampler:
    """Samples the resident size every 10 ms in a thread."""

    def __init__(self) -> None:
        import threading

        self._stop = threading.Event()
        self._highest = resident_mb()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self._highest = max(self._highest, resident_mb())

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return max(self._highest, resident_mb())


def resident_mb() -> float:
    """Return the resident size of this process in MB (10**6 bytes)."""
    import psutil

    return float(psutil.Process().memory_info().rss / 1e6)


def _status_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {name}")


def inference(predict: Callable[[Any], Any], inputs: np.ndarray, synchronise: Callable[[], None]) -> dict[str, float]:
    """Measure prediction: latency of single inputs and throughput of batches of 1,024.

    Parameters
    ----------
    predict : (rows, ...) inputs to probabilities.
    inputs : at least one row; taken round and round.

    Returns
    -------
    ``latency_ms_p50`` and ``latency_ms_p95`` over up to 200 calls (or one second of them), and ``throughput_per_s``,
    rows a second, the best of the batches of at least 0.2 s: interruptions only ever slow a batch.
    """
    singles = [inputs[index % len(inputs)][None] for index in range(_LATENCY_CALLS + _LATENCY_WARMUP)]
    for single in singles[:_LATENCY_WARMUP]:
        predict(single)
    latencies: list[float] = []
    for single in singles[_LATENCY_WARMUP:]:
        with fenced(synchronise) as elapsed:
            predict(single)
        latencies.append(elapsed.seconds * 1e3)
        if sum(latencies) > _LATENCY_S * 1e3:
            break
    batch = np.resize(inputs, (_THROUGHPUT_ROWS, *inputs.shape[1:]))
    predict(batch)
    batches: list[float] = []
    while sum(batches) < _THROUGHPUT_S:
        with fenced(synchronise) as elapsed:
            predict(batch)
        batches.append(elapsed.seconds)
    p50, p95 = np.percentile(latencies, [50, 95])
    return {
        "latency_ms_p50": float(p50),
        "latency_ms_p95": float(p95),
        "throughput_per_s": _THROUGHPUT_ROWS / min(batches),
    }
