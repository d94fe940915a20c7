"""Reader of CIFAR-10's binary version (never the pickles, which can run code).

Format: https://www.cs.toronto.edu/~kriz/cifar.html (10,000 records a file: a label byte, then 3 planes of 32x32).
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from config import UserError

RECORDS = 10_000
CHANNELS, SIDE = 3, 32
RECORD_BYTES = 1 + CHANNELS * SIDE * SIDE
ARCHIVE_FOLDER = "cifar-10-batches-bin"


@dataclass(frozen=True)
class Batch:
    """One file: images (n, 32, 32, 3) and labels (n,), both uint8, and the SHA-256 of its bytes."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    sha256: str


def read_batch(path: Path) -> Batch:
    """Read one file of records.

    Raises
    ------
    UserError
        If the file cannot be read or has the wrong length.
    """
    size = RECORDS * RECORD_BYTES
    try:
        found = path.stat().st_size
        if found != size:
            raise UserError(f"{path}: {found} bytes, expected {size}: truncated, or not CIFAR-10's binary version")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    records = np.frombuffer(content, dtype=np.uint8).reshape(RECORDS, RECORD_BYTES)
    planes = records[:, 1:].reshape(RECORDS, CHANNELS, SIDE, SIDE)
    return Batch(planes.transpose(0, 2, 3, 1), records[:, 0], hashlib.sha256(content).hexdigest())


def unpack(archive: Path, folder: Path, names: Collection[str]) -> None:
    """Take the named files out of the archive, and nothing else.

    Members are read and written under names of ours, so that no path in the archive can lead anywhere.

    Parameters
    ----------
    archive : Path
        The gzipped tar file.
    folder : Path
        Where the files go; one that is there already is left as it is.
    names : collection of str
        Expected file names.

    Raises
    ------
    UserError
        If the archive is damaged or lacks a file, or the folder cannot be written.
    """
    wanted = {f"{ARCHIVE_FOLDER}/{name}": name for name in names}
    try:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as scratch,
            tarfile.open(archive, "r:gz") as tar,
        ):
            for member in tar:
                name = wanted.get(member.name)
                stream = tar.extractfile(member) if name and member.size == RECORDS * RECORD_BYTES else None
                if name and stream:
                    (Path(scratch) / name).write_bytes(stream.read())
                    del wanted[member.name]
            if wanted:
                raise UserError(f"{archive}: lacks {', '.join(wanted)} in full: not CIFAR-10's binary archive")
            for name in names:
                if not (folder / name).exists():
                    os.replace(Path(scratch) / name, folder / name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: damaged ({error}): move it away, and the next run fetches it again") from error
    except OSError as error:
        raise UserError(f"{archive}: cannot be unpacked into {folder} ({error})") from error
