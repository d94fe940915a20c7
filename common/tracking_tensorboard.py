"""Trials as TensorBoard shows them: an event file each, in a directory that has the trial's name.

The events are TensorBoard's own protocol buffers, put together here, as its event file writer and its functions for
settings import TensorFlow.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Value
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from common.store import write_atomically
from common.tracking import Finished

TAGS = {
    "train_loss": "loss/train",
    "val_log_loss": "loss/validation",
    "val_accuracy": "accuracy/validation",
    "epoch_s": "time/epoch_s",
    "test_accuracy": "accuracy/test",
    "test_log_loss": "loss/test",
    "test_precision_macro": "precision_macro/test",
    "test_recall_macro": "recall_macro/test",
    "test_f1_macro": "f1_macro/test",
}
"""Scalars by a record's names; all other figures of a trial stand under ``final/``."""


class TensorBoard:
    """Event files under `directory`, which ``tensorboard --logdir`` takes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def track(self, trial: Finished) -> None:
        """Write a trial's event file; its name says of which record it is."""
        folder = self._directory / directory_name(trial)
        path = folder / f"events.out.tfevents.{trial.digest[:16]}"
        if path.exists():
            return
        content = io.BytesIO()
        writer = RecordWriter(content)
        for event in _events(trial):
            writer.write(event.SerializeToString())
        for earlier in folder.glob("events.out.tfevents.*"):  # before the new one is there: never both
            earlier.unlink()
        write_atomically(path, content.getvalue())

    def close(self) -> None:
        """Nothing is held open."""


def directory_name(trial: Finished) -> str:
    """Return a trial's name as that of a directory: letters, digits and ``.+=_-``, and the beginning of its key."""
    readable = re.sub(r"[^\w.+=]+", "-", trial.name).encode()[:200].decode(errors="ignore")
    return f"{readable}-{trial.key[:8]}"


def _events(trial: Finished) -> Iterator[Any]:
    yield Event(wall_time=trial.began, file_version="brain.Event:2")
    # with these two, TensorBoard's HPARAMS page has a row of each trial: its settings, its last scalars, how it ended
    start = SessionStartInfo(start_time_secs=trial.began)
    for name, value in trial.settings.items():
        start.hparams[name].CopyFrom(_value(value))
    first = _session(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))
    yield Event(wall_time=trial.began, summary=Summary(value=[first]))
    for name, epoch, ended, value in trial.course():
        yield _scalar(TAGS[name], epoch, ended, value)
    for name, value in trial.figures().items():
        yield _scalar(TAGS.get(name, f"final/{name}"), trial.record["epochs"] or 0, trial.ended, value)
    if not trial.ok:
        yield Event(wall_time=trial.ended, summary=Summary(value=[_text("error", str(trial.record["error"]))]))
    status = api_pb2.STATUS_SUCCESS if trial.ok else api_pb2.STATUS_FAILURE
    end = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=trial.ended))
    last = _session(metadata.SESSION_END_INFO_TAG, end)
    yield Event(wall_time=trial.ended, summary=Summary(value=[last]))


def _session(tag: str, content: Any) -> Any:
    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)


def _value(value: str | int | float | bool) -> Value:
    if isinstance(value, bool):
        return Value(bool_value=value)
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


def _scalar(tag: str, step: int, when: float, value: float) -> Any:
    return Event(wall_time=when, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def _text(tag: str, text: str) -> Any:
    """Return text for TensorBoard's TEXT page, which reads Markdown: indented, it is shown as it is."""
    shown = "".join(f"    {line}\n" for line in text.splitlines())
    return Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(dtype=DT_STRING, string_val=[shown.encode()]),
    )
