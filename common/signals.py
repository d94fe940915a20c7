"""Signals that end a run: the first one tidily, the second at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked for the end; `status` is what a shell expects of a process that one ended."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextlib.contextmanager
def ending(at_once: Callable[[], None]) -> Iterator[None]:
    """Raise :class:`Stopped` in the main thread at the first Ctrl-C, SIGTERM or SIGHUP within the block.

    A second one does `at_once` and ends the process where it stands. A signal that is ignored, as under ``nohup``, stays
    ignored; outside the main thread nothing is changed.
    """
    asked = False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            at_once()
            os._exit(128 + number)
        asked = True
        raise Stopped(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        heard = [number for number in _ENDING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
