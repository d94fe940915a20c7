"""A process that runs trials of one backend and engine, one after the other, for the process that started it.

Requests come as JSON lines on standard input, answers go as JSON lines to a pipe of their own, so that what a
framework prints reaches neither. Started by :class:`common.executor.WorkerProcess` as ``python -m common.worker``.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

_PARENT_CHECK_S = 1.0


def main() -> None:
    """Serve trials until standard input ends or the parent is gone."""
    place, settings, reply_descriptor = sys.argv[1:]
    # Ctrl-C reaches the whole process group; the parent decides what becomes of its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    replies = os.fdopen(int(reply_descriptor), "w", encoding="utf-8")
    from config import UserError

    try:
        backend, import_s = _started(place, json.loads(settings))
    except UserError as error:
        _send(replies, {"refused": str(error)})
        return
    gc.collect()
    gc.freeze()  # what the imports left stays; looking through it after every trial takes 0.2 s
    _send(replies, {"import_s": import_s})
    said = {"import_s": import_s, "settings": backend.settings(), "blas": _blas()}
    fresh = True
    for line in sys.stdin:
        request = json.loads(line)
        if "profile" in request:
            _send(replies, _profile(backend, request["profile"]))
        elif "trace" in request:
            _send(replies, _trace(backend, request["trace"]))
        else:
            _send(replies, _answer(backend, request, fresh, said))
            gc.collect()  # while the parent writes the record; a network's garbage is large
            fresh = False


def _started(place: str, settings: dict[str, Any]) -> tuple[Any, float]:
    import sklearn.metrics  # noqa: F401  # the harness's own needs come first, so that import_s is the framework's

    import backends
    from backends.base import Runtime
    from common import trial  # noqa: F401

    backend = backends.load(place)(Runtime(**settings))
    start = time.perf_counter()
    backend.start()
    return backend, time.perf_counter() - start


def _answer(backend: Any, request: dict[str, Any], fresh: bool, said: dict[str, Any]) -> dict[str, Any]:
    from common.outcome import Unwritable

    try:
        return {"records": [{**record, **said} for record in _run(backend, request, fresh)]}
    except Unwritable as error:
        return {"unwritable": str(error)}


def _run(backend: Any, request: dict[str, Any], fresh: bool) -> list[dict[str, Any]]:
    from common.many import run_many
    from common.trial import empty_record, run_trial
    from config import Trial, UserError

    trials = [Trial.model_validate_json(json.dumps(fields)) for fields in request["trials"]]
    directories = [Path(directory) for directory in request["directories"]]
    start = time.perf_counter()
    try:
        dataset = _dataset(request["source"], request["data_dir"])
    except UserError as error:
        return [{**empty_record(trial), "status": "failed", "error": str(error)} for trial in trials]
    reading_s = time.perf_counter() - start
    if len(trials) > 1:
        return run_many(trials, backend, dataset, directories)
    record = run_trial(trials[0], backend, dataset, directories[0], fresh)
    if record["data_s"] is not None:
        record["data_s"] += reading_s
    return [record]


def _blas() -> str:
    """Return the linear algebra libraries that are loaded here; the frameworks' own, built in, are not among them."""
    from threadpoolctl import threadpool_info

    loaded = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    names = {f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip() for pool in loaded}
    return ", ".join(sorted(names))


@functools.lru_cache(maxsize=1)
def _dataset(name: str, data_dir: str | None) -> Any:
    from common import data

    return data.load(name, data_dir)


def _profile(backend: Any, request: dict[str, Any]) -> dict[str, Any]:
    import dataclasses

    from common.trial import network_of
    from config import Trial, UserError

    trial = Trial.model_validate_json(json.dumps(request["trial"]))
    try:
        backend.build(network_of(trial, tuple(request["input_shape"]), request["classes"]))
    except UserError as error:
        return {"refused": str(error)}
    except Exception as error:  # code of the user's own may raise anything
        return {"refused": f"{type(error).__name__}: {error}"}
    return {"layers": [dataclasses.asdict(layer) for layer in backend.layers()]}


def _trace(backend: Any, request: dict[str, Any]) -> dict[str, Any]:
    from common.parity import trace
    from config import Trial

    trial = Trial.model_validate_json(json.dumps(request["trial"]))
    dataset = _dataset(request["source"], request["data_dir"])
    return trace(trial, backend, dataset, request["steps"], Path(request["directory"]))


def _send(replies: TextIO, message: dict[str, Any]) -> None:
    from common.store import to_json

    replies.write(to_json(message) + "\n")
    replies.flush()


def _end_with_parent(parent: int) -> None:
    """End this process and all it started when its parent is gone, even killed: nobody would read the result."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
