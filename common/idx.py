"""Reader of IDX, the format of MNIST: strict about everything the header says.

Format: http://yann.lecun.com/exdb/mnist/ (two zero bytes, type code, number of dimensions, big-endian sizes, values).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from config import UserError

GZIP_MAGIC = b"\x1f\x8b"
UNSIGNED_BYTE = 0x08
KINDS = {1: "labels", 3: "images"}
MAX_BYTES = 1 << 30
DEFLATE_MAX_RATIO = 1032  # the format's own limit: no gzip file can hold more than this many times its size


@dataclass(frozen=True)
class IdxFile:
    """Values of an IDX file, and the SHA-256 of its uncompressed content."""

    values: npt.NDArray[np.uint8]
    sha256: str


def read_idx(path: Path, ndim: int) -> IdxFile:
    """Read an IDX file of unsigned bytes, gzipped or not, whatever its name.

    Parameters
    ----------
    path : Path
        The file.
    ndim : {1, 3}
        Dimensions it must have: 1 for labels, 3 for images.

    Returns
    -------
    IdxFile
        values of shape (n,) or (n, height, width), read-only.

    Raises
    ------
    UserError
        If the file is missing, unreadable, truncated, too long, or something else than its name says.
    """
    try:
        with _opened(path) as stream:
            magic = stream.read(4)
            _check_magic(path, magic, ndim)
            sizes = stream.read(4 * ndim)
            if len(sizes) < 4 * ndim:
                raise UserError(f"{path}: truncated: ends within the header")
            shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
            body = _read_body(path, stream, shape)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}): replace it by an intact IDX file") from error
    digest = hashlib.sha256(magic + sizes)
    digest.update(body)
    return IdxFile(np.frombuffer(body, dtype=np.uint8).reshape(shape), digest.hexdigest())


def _opened(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as stream:
        zipped = stream.read(2) == GZIP_MAGIC
    return gzip.open(path) if zipped else path.open("rb")


def _check_magic(path: Path, magic: bytes, ndim: int) -> None:
    wanted = f"expected an IDX file of {KINDS[ndim]}"
    if not magic:
        raise UserError(f"{path}: empty, {wanted}")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UserError(f"{path}: starts with {magic.hex(' ')}, {wanted} (00 00 08 {ndim:02x})")
    if magic[2] != UNSIGNED_BYTE:
        raise UserError(f"{path}: values of IDX type 0x{magic[2]:02x}, {wanted} as unsigned bytes (0x08)")
    if magic[3] != ndim:
        found = KINDS.get(magic[3], "values")
        raise UserError(f"{path}: holds {found} ({magic[3]}-dimensional), {wanted} ({ndim}-dimensional): renamed?")


def _read_body(path: Path, stream: io.BufferedIOBase, shape: tuple[int, ...]) -> bytes:
    size = math.prod(shape)
    announced = f"the header announces {' x '.join(map(str, shape))} bytes"
    if size == 0:
        raise UserError(f"{path}: no values: {announced}")
    # Checked before reading, since read() would allocate whatever a damaged header asks for.
    if size > min(MAX_BYTES, path.stat().st_size * DEFLATE_MAX_RATIO):
        raise UserError(f"{path}: damaged or truncated: {announced}, more than the file can hold")
    body = stream.read(size)
    if len(body) < size:
        raise UserError(f"{path}: truncated: {announced}, {len(body)} are there")
    if stream.read(1):
        raise UserError(f"{path}: damaged: more follows after the {size} bytes that the header announces")
    return body
