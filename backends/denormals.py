"""Denormal floats flushed to zero: the weights of dead pixels decay into them under Adam, and they are many times slower."""

from __future__ import annotations

import ctypes
import platform
from contextlib import ExitStack

import numpy as np

_FLUSH = 0x8040
"""Of the MXCSR register: results that would be denormal are zero (bit 15), and so are denormal operands (bit 6)."""


def flush(put_back: ExitStack) -> bool:
    """Have this thread flush denormals, and return whether it does; `put_back` undoes it.

    Python has no call for it. glibc's ``fesetenv`` (ISO C99, 7.6.4.3) sets the register with the rest of the
    floating-point environment; on other systems denormals stay.
    """
    if platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL("libm.so.6")
    before = (ctypes.c_uint32 * 8)()  # seven words of the x87 unit, then MXCSR
    if library.fegetenv(before):
        return False
    wanted = type(before).from_buffer_copy(before)
    wanted[7] |= _FLUSH
    library.fesetenv(wanted)
    put_back.callback(library.fesetenv, before)
    return bool(np.multiply(np.full(8, 1e-38, np.float32), np.float32(0.1)).sum() == 0)
