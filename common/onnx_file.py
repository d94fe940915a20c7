"""An exported model as it lies on disk: read, checked and computed with by ONNX Runtime alone."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from config import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

OUTPUTS = ("logits", "probabilities")
RAW, PREPARED = "images", "inputs"
"""What a model's input is called: raw pixels where the preprocessing is in the file, else what the network sees."""

_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
"""How a model's last metadata entry begins in protocol buffers: key ``sha256``, and a value of 64 characters."""


def sealed(model: bytes) -> bytes:
    """Return a serialized model with the SHA-256 of all that stands before it as its last metadata entry."""
    return model + _SEAL + hashlib.sha256(model).hexdigest().encode()


class OnnxFile:
    """An exported model, ready to compute.

    Parameters
    ----------
    path : the file.
    threads : of ONNX Runtime; 1 computes in the calling thread.

    Raises
    ------
    UserError
        Where it cannot be read, was not written by ``compare.py export``, or was changed since.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        content = _checked(path)
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # as PyTorch and Keras are set to: weights of pixels that are never lit decay into them, and they are slow
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise UserError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        (self._input,) = self._session.get_inputs()

    @property
    def input_name(self) -> str:
        """``images`` or ``inputs``."""
        return str(self._input.name)

    @property
    def takes_bytes(self) -> bool:
        """Whether the input is uint8, as raw pixels are."""
        return bool(self._input.type == "tensor(uint8)")

    def run(self, inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
        """Return ``logits`` and ``probabilities``, (rows, classes), of (rows, ...) inputs."""
        return dict(zip(OUTPUTS, self._session.run(list(OUTPUTS), {self.input_name: inputs}), strict=True))

    def probabilities(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return class probabilities, (rows, classes), of (rows, ...) inputs."""
        found: npt.NDArray[np.float32] = self._session.run(["probabilities"], {self.input_name: inputs})[0]
        return found

    def said(self, name: str) -> Any:
        """Return an entry of the metadata, which are JSON."""
        return json.loads(self.metadata[name])


def _checked(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UserError(
                f"{path}: is a folder; give a model.onnx that compare.py export wrote, such as the one in it"
            )
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; give a model.onnx that compare.py export wrote")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    body, seal = content[: -len(_SEAL) - 64], content[-len(_SEAL) - 64 :]
    if not seal.startswith(_SEAL):
        raise UserError(f"{path}: is not a whole file of compare.py export; give a model.onnx that it wrote")
    if seal[len(_SEAL) :] != hashlib.sha256(body).hexdigest().encode():
        raise UserError(f"{path}: was changed since it was exported (its SHA-256 is another); export it again")
    return content
