"""Denormal floats: flushed on the thread that asked for it, and kept again afterwards."""

from __future__ import annotations

import platform
from contextlib import ExitStack

import numpy as np
import pytest

from backends import denormals

TINY = np.full(8, 1e-38, np.float32)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="only glibc on x86_64 has the call for it",
)
def test_denormals_are_zero_until_put_back() -> None:
    with ExitStack() as put_back:
        assert denormals.flush(put_back)
        assert not (TINY * np.float32(0.1)).any()
    assert (TINY * np.float32(0.1)).all()
