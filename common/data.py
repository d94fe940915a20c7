"""Data sets: found on disk or fetched, checked, and read into one form."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from common import checksums
from common.catalog import DIGITS, SOURCES, Source
from common.cifar import read_batch, unpack
from common.fetch import FetchError, fetch
from common.idx import IdxFile, read_idx
from common.npz import read_npz
from config import UserError

DATA_DIR_VARIABLE = "SAMENET_DATA_DIR"


@dataclass(frozen=True)
class Dataset:
    """A labeled set of images, as they come: nothing scaled, nothing shuffled.

    Parameters
    ----------
    name : str
        Name of the set that was read (never "auto"); for a user's file, its name without folder and suffix.
    images : ndarray of shape (n, height, width, channels)
        Raw values, uint8 or float32, read-only.
    labels : ndarray of int64, shape (n,)
        0 to classes - 1, read-only.
    class_names : tuple of str
        Name of each class, by label.
    official_train : int or None
        The first so many rows are the official training part, the others the test part; None without such parts.
    max_value : float
        The value that unit scaling maps to 1.
    sha256 : str
        Hash of shape, type and bytes of images and labels.
    note : str or None
        A warning to show on every output.
    """

    name: str
    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    official_train: int | None
    max_value: float
    sha256: str
    note: str | None = None

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        size = f"{height} x {width}" + f" x {channels}" * (channels > 1)
        return f"<{self.name}: {len(self.labels):,} images of {size} pixels, {self.n_classes} classes>"

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        _, height, width, channels = self.images.shape
        return height, width, channels


class Listed(NamedTuple):
    """A line of the listing: the name to give, what it is, and where it is or comes from."""

    name: str
    what: str
    where: str


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Read a data set, after fetching it if it is a published one that is not on disk.

    Parameters
    ----------
    name : str
        "mnist", "fashion_mnist", "cifar10", "digits", "auto" (MNIST if it is on disk or can be fetched, else
        scikit-learn's digits with a note), or the path of an .npz file with arrays X and y.
    data_dir : str, Path or None
        Folder with a folder for each data set; None for SAMENET_DATA_DIR, else the user's cache folder.

    Returns
    -------
    Dataset
        The pooled rows, official training part first.

    Raises
    ------
    UserError
        If there is no such data set, or it can neither be found nor fetched, or is damaged.
    """
    if name == "auto":
        return _load_auto(data_directory(data_dir))
    if name == "digits":
        return _load_digits(note=None)
    if name in SOURCES:
        return _load_published(SOURCES[name], data_directory(data_dir))
    if Path(name).suffix == ".npz" or os.sep in name or Path(name).exists():
        return _load_npz(Path(name).expanduser())
    known = [*SOURCES, "digits", "auto"]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UserError(f"dataset: unknown name {name!r}{hint}: expected {', '.join(known)} or the path of a FILE.npz")


def available(data_dir: str | Path | None = None) -> list[Listed]:
    """List the data sets and where each is, without reading any.

    Parameters
    ----------
    data_dir : str, Path or None
        As for `load`.

    Returns
    -------
    list of Listed
        Name, description and place of each.
    """
    folder = data_directory(data_dir)
    listed = [Listed(source.name, source.what, _where(source, folder / source.name)) for source in SOURCES.values()]
    return [
        *listed,
        Listed("digits", "handwritten digits, 8x8 gray, 1,797", "bundled with scikit-learn"),
        Listed("auto", "mnist if it is on disk or can be fetched, else digits", ""),
        Listed("FILE.npz", "your own: X (n, features), (n, h, w) or (n, h, w, c), and y (n,)", "wherever it is"),
    ]


def on_disk(name: str, data_dir: str | Path | None = None) -> bool:
    """Say whether a published data set can be read without fetching it."""
    return _on_disk(SOURCES[name], data_directory(data_dir) / name)


def data_directory(data_dir: str | Path | None = None) -> Path:
    """Folder of the data: the one given, else that of SAMENET_DATA_DIR, else in the user's cache folder."""
    chosen = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if chosen:
        folder = Path(chosen).expanduser()
        if folder.exists() and not folder.is_dir():
            raise UserError(
                f"data directory {folder}: is a file: give the folder that holds a folder for each data set"
            )
        return folder
    import pooch

    return Path(pooch.os_cache("samenet"))


def _where(source: Source, folder: Path) -> str:
    return str(folder) if _on_disk(source, folder) else f"not on disk: fetched into {folder} when first used"


def _on_disk(source: Source, folder: Path) -> bool:
    return any(all(_find(folder, name) for name in names) for names in (source.contents, source.downloads))


def _find(folder: Path, name: str) -> Path | None:
    # lexists, so that a dangling link is reported as unreadable rather than quietly fetched over.
    return next((path for path in (folder / name, folder / f"{name}.gz") if os.path.lexists(path)), None)


def _load_auto(folder: Path) -> Dataset:
    try:
        return _load_source(SOURCES["mnist"], folder)
    except FetchError as error:
        return _load_digits(
            note=f"MNIST is not on disk and could not be fetched ({error}): using scikit-learn's 8x8 digits"
        )


def _load_published(source: Source, folder: Path) -> Dataset:
    try:
        return _load_source(source, folder)
    except FetchError as error:
        raise UserError(
            f"dataset {source.name}: not complete in {folder / source.name} and not to be fetched ({error}): put "
            f"{', '.join(source.downloads)} there by hand, or name the folder above it with --data-dir"
        ) from error


def _load_source(source: Source, folder: Path) -> Dataset:
    read = _read_cifar if source.name == "cifar10" else _read_idx_set
    return read(source, folder / source.name)


def _read_idx_set(source: Source, folder: Path) -> Dataset:
    """Read train images, train labels, test images and test labels, in the order of `source.contents`."""
    wanted = checksums.expected(folder, source.contents)

    def read(name: str, path: Path) -> IdxFile:
        file = read_idx(path, ndim=3 if "images" in name else 1)
        checksums.check(path, file.sha256, wanted.get(name))
        return file

    def fetched(name: str) -> IdxFile:
        def install(path: Path) -> None:
            read(name, path)
            os.replace(path, folder / path.name)

        download = f"{name}.gz"
        fetch(download, source.mirrors, folder, source.downloads[download], install)
        return read(name, folder / download)

    paths = {name: _find(folder, name) for name in source.contents}
    # What is on disk first: a damaged file there is reported, with or without a network.
    files = {name: read(name, path) for name, path in paths.items() if path}
    files |= {name: fetched(name) for name, path in paths.items() if not path}
    train_images, train_labels, test_images, test_labels = (files[name].values for name in source.contents)
    _check_parts(folder, "training", train_images, train_labels)
    _check_parts(folder, "test", test_images, test_labels)
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"{folder}: training images of {train_images.shape[1:]}, test images of {test_images.shape[1:]} pixels: "
            f"files of different sets are mixed"
        )
    images = np.concatenate([train_images, test_images])[..., np.newaxis]
    dataset = _pooled(source, folder, images, np.concatenate([train_labels, test_labels]), len(train_labels))
    _record_first_use(source, folder, {name: file.sha256 for name, file in files.items()})
    return dataset


def _check_parts(folder: Path, part: str, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    if len(images) != len(labels):
        raise UserError(
            f"{folder}: {len(images)} {part} images, {len(labels)} {part} labels: files of different sets are mixed"
        )


def _read_cifar(source: Source, folder: Path) -> Dataset:
    """Read the training batches and the test batch, which is the last of `source.contents`."""
    wanted = checksums.expected(folder, source.contents)
    if not all(os.path.lexists(folder / name) for name in source.contents):
        _unpack_cifar(source, folder)
    batches = {name: read_batch(folder / name) for name in source.contents}
    for name, batch in batches.items():
        checksums.check(folder / name, batch.sha256, wanted.get(name))
    images = np.concatenate([batch.images for batch in batches.values()])
    labels = np.concatenate([batch.labels for batch in batches.values()])
    *_, test = batches.values()
    dataset = _pooled(source, folder, images, labels, len(labels) - len(test.labels))
    _record_first_use(source, folder, {name: batch.sha256 for name, batch in batches.items()})
    return dataset


def _unpack_cifar(source: Source, folder: Path) -> None:
    from pooch import file_hash

    ((download, sha256),) = source.downloads.items()
    archive = folder / download
    if archive.is_file():
        checksums.check(archive, file_hash(str(archive)), sha256)
        unpack(archive, folder, source.contents)
    else:
        fetch(download, source.mirrors, folder, sha256, lambda path: unpack(path, folder, source.contents))


def _record_first_use(source: Source, folder: Path, found: dict[str, str]) -> None:
    unpublished = {name: sha256 for name, sha256 in found.items() if source.contents[name] is None}
    if unpublished:
        checksums.record(folder, unpublished)


def _pooled(
    source: Source, folder: Path, images: npt.NDArray[Any], labels: npt.NDArray[Any], official_train: int
) -> Dataset:
    n_classes = len(source.class_names)
    if labels.max() >= n_classes:
        raise UserError(f"{folder}: label {labels.max()} found, expected 0 to {n_classes - 1}: not {source.name}")
    return _dataset(source.name, images, labels, source.class_names, official_train, 255.0)


def _load_digits(note: str | None) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[..., np.newaxis]  # whole numbers, 0 to 16, in float64
    return _dataset("digits", images, bunch.target, DIGITS, None, 16.0, note)


def _load_npz(path: Path) -> Dataset:
    if path.suffix != ".npz":
        raise UserError(f"{path}: expected an .npz file with arrays X and y, found {path.name!r}")
    content = read_npz(path)
    return _dataset(path.stem, content.images, content.labels, content.class_names, None, content.max_value)


def _dataset(
    name: str,
    images: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    class_names: tuple[str, ...],
    official_train: int | None,
    max_value: float,
    note: str | None = None,
) -> Dataset:
    images = np.ascontiguousarray(images)
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    images.setflags(write=False)
    labels.setflags(write=False)
    return Dataset(name, images, labels, class_names, official_train, max_value, _content_hash(images, labels), note)


def _content_hash(images: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> str:
    header = {"images": [str(images.dtype), images.shape], "labels": [str(labels.dtype), labels.shape]}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode("ascii"))
    digest.update(images.data)
    digest.update(labels.data)
    return digest.hexdigest()
