"""A process that runs trials of one backend and engine, one after the other, for the process that started it.

Requests come as JSON lines on standard input, answers go as JSON lines to a pipe of their own, so that what a
framework prints reaches neither. Started by :class:`common.process.WorkerProcess` as ``python -m common.worker``.
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
_OPEN_MODELS = 16
"""Models that are looked at, kept open at a time."""


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
        elif "view" in request:
            _send(replies, _view(backend, request["view"]))
        elif "trace" in request:
            _send(replies, _trace(backend, request["trace"]))
        elif "answers" in request:
            _send(replies, _answers(backend, request["answers"]))
        elif "onnx" in request:
            _send(replies, _onnx(backend, request["onnx"]))
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


def _view(backend: Any, request: dict[str, Any]) -> dict[str, Any]:
    from config import UserError

    kind: Any = type(backend)
    try:
        opened = _opened(kind, backend.runtime, json.dumps(request["trial"]), request["model"],
                         request["source"], request["data_dir"])  # fmt: skip
        return opened.look(request["images"]) if "images" in request else {"kernel": opened.kernel()}
    except UserError as error:
        return {"refused": str(error)}
    except Exception as error:  # a file may hold anything
        return {"refused": " ".join(f"{type(error).__name__}: {error}".split())}


@functools.lru_cache(maxsize=_OPEN_MODELS)
def _opened(kind: Any, settings: Any, trial: str, model: str, source: str, data_dir: str | None) -> Any:
    from common.opened import open_model
    from config import Trial

    backend = kind(settings)  # each its own: a backend holds one network
    backend.start()
    return open_model(Trial.model_validate_json(trial), backend, _dataset(source, data_dir), Path(model))


def _trace(backend: Any, request: dict[str, Any]) -> dict[str, Any]:
    from common.parity import trace
    from config import Trial

    trial = Trial.model_validate_json(json.dumps(request["trial"]))
    dataset = _dataset(request["source"], request["data_dir"])
    return trace(trial, backend, dataset, request["steps"], Path(request["directory"]))


def _answers(backend: Any, request: dict[str, Any]) -> dict[str, Any]:
    from common.answers import write_answers
    from config import Trial, UserError

    trial = Trial.model_validate_json(json.dumps(request["trial"]))
    model, path = Path(request["model"]), Path(request["path"])
    try:
        dataset = _dataset(request["source"], request["data_dir"])
        return write_answers(trial, backend, dataset, model, request["rows"], path)
    except UserError as error:
        return {"refused": str(error)}


def _onnx(backend: Any, request: dict[str, Any]) -> dict[str, Any]:
    from backends.base import Unsupported
    from common.opened import restore
    from config import Trial

    trial = Trial.model_validate_json(json.dumps(request["trial"]))
    restore(trial, backend, Path(request["model"]), tuple(request["input_shape"]), request["classes"])
    try:
        backend.export_onnx(Path(request["path"]))
    except Unsupported as reason:
        return {"refused": str(reason)}
    return {}


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
