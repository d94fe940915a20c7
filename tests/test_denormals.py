"""Denormal floats: flushed on the thread that asked for it, and kept again afterwards."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.command import ROOT

SCRIPT = """
from contextlib import ExitStack
import numpy as np
from backends import denormals
tiny = np.full(8, 1e-38, np.float32)
with ExitStack() as put_back:
    print(denormals.flush(put_back), (tiny * np.float32(0.1)).any())
print((tiny * np.float32(0.1)).all())
"""


@pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="only glibc on x86_64 has the call for it",
)
def test_denormals_are_zero_until_put_back() -> None:
    # in a process of its own: frameworks in this one may have had them flushed before
    found = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False", "True"]
