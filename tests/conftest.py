"""What all tests share: they run side by side, so threads that wait must not keep a core from those that work."""

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(autouse=True, scope="module")
def subnormals_are_back() -> Iterator[None]:
    """A backend started in this process flushes subnormal numbers, which the next file's tests may need."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
