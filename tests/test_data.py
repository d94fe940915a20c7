"""Data sets: real files in a folder of the test, mirrors on a local server, and one clear line for each mistake."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import socket
import struct
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import catalog, cifar, fetch
from common.data import available, load
from config import UserError

IDX_NAMES = list(catalog.MNIST.contents)
REAL = Path(os.environ.get("SAMENET_DATA_DIR", ""), "mnist")


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def idx_set(seed: int = 0) -> dict[str, bytes]:
    """Content of the four files of a small set: 30 training and 10 test images of 6x5 pixels."""
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, 256, (30, 6, 5)), np.arange(30) % 10, rng.integers(0, 256, (10, 6, 5)), np.arange(10)]
    return {name: idx(values) for name, values in zip(IDX_NAMES, parts, strict=True)}


class Mirror:
    """A web server that serves `files` by path, and remembers what was asked of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                content = mirror.files.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def do_HEAD(self) -> None:
                self.send_response(405)  # a server that refuses HEAD is there all the same
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, folder: str, contents: dict[str, bytes]) -> str:
        """Serve files gzipped under a folder; returns the folder's address."""
        self.files |= {f"/{folder}/{name}.gz": gzip.compress(content) for name, content in contents.items()}
        return f"{self.url}{folder}/"


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    running = Mirror()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for name in catalog.SOURCES:
        change(monkeypatch, name, mirrors=(f"http://127.0.0.1:{port}/",))


def change(monkeypatch: pytest.MonkeyPatch, name: str, **fields: Any) -> None:
    monkeypatch.setitem(catalog.SOURCES, name, dataclasses.replace(catalog.SOURCES[name], **fields))


def publish(monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes], *mirrors: str, name: str = "mnist") -> None:
    """Make a small set the published one, with its hashes."""
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    change(monkeypatch, name, contents=hashes, **({"mirrors": mirrors} if mirrors else {}))


def put(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def fashion_on_disk(tmp_path: Path, **replaced: bytes) -> Path:
    """Folder of a set without published hashes, with some files replaced, by role (train_images, ...)."""
    roles = dict(zip(("train_images", "train_labels", "test_images", "test_labels"), IDX_NAMES, strict=True))
    put(tmp_path / "fashion_mnist", idx_set() | {roles[role]: content for role, content in replaced.items()})
    return tmp_path / "fashion_mnist"


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Reading


def test_set_on_disk_is_pooled_training_part_first(tmp_path: Path, no_network: None) -> None:
    fashion_on_disk(tmp_path)
    data = load("fashion_mnist", tmp_path)
    assert data.images.shape == (40, 6, 5, 1)
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [*(np.arange(30) % 10), *range(10)]
    assert (data.official_train, data.max_value, data.n_classes, data.image_shape) == (30, 255.0, 10, (6, 5, 1))
    train_images = np.frombuffer(idx_set()[IDX_NAMES[0]][16:], np.uint8).reshape(30, 6, 5)
    np.testing.assert_array_equal(data.images[:30, ..., 0], train_images)


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path, no_network: None) -> None:
    contents = idx_set()
    plain = load("fashion_mnist", fashion_on_disk(tmp_path / "a").parent)
    names = [IDX_NAMES[0] + ".gz", IDX_NAMES[1], IDX_NAMES[2], IDX_NAMES[3] + ".gz"]
    packed = [contents[IDX_NAMES[0]], *(gzip.compress(contents[name]) for name in IDX_NAMES[1:])]
    put(tmp_path / "b" / "fashion_mnist", dict(zip(names, packed, strict=True)))
    assert load("fashion_mnist", tmp_path / "b").sha256 == plain.sha256


def test_a_notebook_shows_a_set_in_a_line() -> None:
    assert repr(load("digits")) == "<digits: 1,797 images of 8 x 8 pixels, 10 classes>"


def test_hash_depends_on_content(tmp_path: Path, no_network: None) -> None:
    labels = np.arange(30) % 10
    first = load("fashion_mnist", fashion_on_disk(tmp_path / "a").parent)
    other = load("fashion_mnist", fashion_on_disk(tmp_path / "b", train_labels=idx(labels[::-1])).parent)
    assert first.sha256 != other.sha256


IMAGES = idx_set()[IDX_NAMES[0]]
LABELS = idx_set()[IDX_NAMES[1]]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"train_images": b""}, "train-images.*: empty"),
        ({"train_images": LABELS}, r"train-images.*: holds labels \(1-dimensional\), expected .* images .*renamed"),
        ({"train_labels": IMAGES}, "train-labels.*: holds images .*expected an IDX file of labels"),
        ({"train_images": b"GIF89a" + IMAGES}, "train-images.*: starts with 47 49 46 38"),
        ({"train_images": b"\0\0\x0d\3" + IMAGES[4:]}, "train-images.*: values of IDX type 0x0d"),
        ({"train_images": IMAGES[:9]}, "train-images.*: truncated: ends within the header"),
        ({"train_images": IMAGES[:-1]}, "train-images.*: truncated: .* 30 x 6 x 5 bytes, 899 are there"),
        ({"train_images": IMAGES + b"\0"}, "train-images.*: more follows after the 900 bytes"),
        ({"train_images": gzip.compress(IMAGES)[:-20]}, "train-images.*: cannot be read"),
        ({"train_images": gzip.compress(IMAGES)[:200] + b"?" * 90}, "train-images.*: cannot be read"),
        ({"train_images": b"\0\0\x08\3" + b"\xff" * 12 + b"x" * 99}, "train-images.*: damaged or truncated"),
        ({"train_images": b"\0\0\x08\3" + b"\0" * 12}, "train-images.*: no values"),
        ({"train_labels": idx(np.zeros(29))}, "fashion_mnist: 30 training images, 29 training labels"),
        ({"test_images": idx(np.ones((10, 4, 4)))}, r"fashion_mnist: training images of \(6, 5\), test images of"),
        ({"test_labels": idx(np.full(10, 77))}, "fashion_mnist: label 77 found, expected 0 to 9"),
    ],
)
def test_damaged_idx_files_are_named(
    tmp_path: Path, no_network: None, replaced: dict[str, bytes], message: str
) -> None:
    folder = fashion_on_disk(tmp_path, **replaced)
    before = {name: (folder / name).read_bytes() for name in listing(folder)}
    with pytest.raises(UserError, match=message) as caught:
        load("fashion_mnist", tmp_path)
    assert "\n" not in str(caught.value)
    assert {name: (folder / name).read_bytes() for name in listing(folder)} == before


def test_absurd_header_allocates_nothing(tmp_path: Path, no_network: None) -> None:
    # 1,000,000,000 bytes are announced by a gzip file far too small to hold them.
    header = struct.pack(">HBB3I", 0, 8, 3, 1000, 1000, 1000)
    fashion_on_disk(tmp_path, train_images=gzip.compress(header + b"x" * 100))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"more than the file can hold"):
        load("fashion_mnist", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_folder_in_place_of_a_file(tmp_path: Path, no_network: None) -> None:
    folder = fashion_on_disk(tmp_path)
    (folder / IDX_NAMES[0]).unlink()
    (folder / IDX_NAMES[0]).mkdir()
    with pytest.raises(UserError, match=r"train-images.*: cannot be read \(Is a directory\)"):
        load("fashion_mnist", tmp_path)


# Hashes


def test_content_other_than_published_is_reported_and_left(
    tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, idx_set())
    put(tmp_path / "mnist", idx_set(seed=1))
    for name in ("mnist", "auto"):  # a damaged MNIST is no reason to fall back
        with pytest.raises(UserError, match=r"train-images-idx3-ubyte: SHA-256 .*, expected .*move it away"):
            load(name, tmp_path)
    assert (tmp_path / "mnist" / IDX_NAMES[0]).read_bytes() == idx_set(seed=1)[IDX_NAMES[0]]


def test_first_use_is_recorded_and_checked_later(tmp_path: Path, no_network: None) -> None:
    folder = fashion_on_disk(tmp_path)
    load("fashion_mnist", tmp_path)
    load("fashion_mnist", tmp_path)
    assert listing(folder) == sorted([*IDX_NAMES, "sha256.json"])
    (folder / IDX_NAMES[2]).write_bytes(idx_set(seed=1)[IDX_NAMES[2]])
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte: SHA-256"):
        load("fashion_mnist", tmp_path)


def test_unreadable_record_is_reported(tmp_path: Path, no_network: None) -> None:
    (fashion_on_disk(tmp_path) / "sha256.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"sha256.json: cannot be read"):
        load("fashion_mnist", tmp_path)


# Fetching


def test_fetched_once_and_kept_whole(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, idx_set(), mirror.serve("a", idx_set()))
    data = load("mnist", tmp_path)
    assert listing(tmp_path / "mnist") == sorted(f"{name}.gz" for name in IDX_NAMES)
    assert len(mirror.asked) == 4
    assert load("auto", tmp_path).sha256 == data.sha256
    assert len(mirror.asked) == 4


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(None, id="not found"),
        pytest.param(b"<html>Sign in to the network</html>", id="page in place of the file"),
        pytest.param(gzip.compress(IMAGES)[:-30], id="truncated"),
        pytest.param(gzip.compress(idx_set(seed=1)[IDX_NAMES[0]]), id="other content"),
    ],
)
def test_mirrors_are_tried_in_order(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, bad: bytes | None
) -> None:
    first = f"{IDX_NAMES[0]}.gz"
    publish(monkeypatch, idx_set(), mirror.serve("a", idx_set()), mirror.serve("b", idx_set()))
    if bad is None:
        del mirror.files[f"/a/{first}"]
    else:
        mirror.files[f"/a/{first}"] = bad
    load("mnist", tmp_path)
    assert mirror.asked == [f"/a/{first}", f"/b/{first}", *(f"/a/{name}.gz" for name in IDX_NAMES[1:])]
    assert listing(tmp_path / "mnist") == sorted(f"{name}.gz" for name in IDX_NAMES)


def test_wrong_bytes_from_every_mirror_leave_nothing(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, idx_set(), mirror.serve("a", idx_set(seed=1)))
    with pytest.raises(UserError, match=r"no mirror delivered it: http.*SHA-256"):
        load("mnist", tmp_path)
    assert listing(tmp_path / "mnist") == []


def test_hash_of_the_download_is_checked(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "fashion_mnist", mirrors=(mirror.serve("a", idx_set()),))
    with pytest.raises(UserError, match=r"SHA-256 .*, expected 3aede38d"):
        load("fashion_mnist", tmp_path)


def test_only_missing_files_are_fetched(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, idx_set(), mirror.serve("a", idx_set()))
    put(tmp_path / "mnist", {name: idx_set()[name] for name in IDX_NAMES[:3]})
    load("mnist", tmp_path)
    assert mirror.asked == [f"/a/{IDX_NAMES[3]}.gz"]


def test_two_fetching_at_once_do_not_disturb_each_other(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, idx_set(), mirror.serve("a", idx_set()))
    hashes: list[str] = []
    threads = [threading.Thread(target=lambda: hashes.append(load("mnist", tmp_path).sha256)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hashes) == 4
    assert len(set(hashes)) == 1
    assert listing(tmp_path / "mnist") == sorted(f"{name}.gz" for name in IDX_NAMES)


def test_without_network_auto_is_digits_and_says_so(tmp_path: Path, no_network: None) -> None:
    data = load("auto", tmp_path)
    assert data.name == "digits"
    assert data.note is not None
    assert data.note.startswith("MNIST is not on disk and could not be fetched")
    assert load("digits").note is None
    assert load("digits").sha256 == data.sha256


def test_without_network_mnist_says_what_to_do(tmp_path: Path, no_network: None) -> None:
    with pytest.raises(
        UserError, match=r"dataset mnist: .*no answer from 127.*put train-images-idx3-ubyte\.gz, .* by hand"
    ) as caught:
        load("mnist", tmp_path)
    assert str(tmp_path / "mnist") in str(caught.value)


def test_network_that_swallows_everything_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connections are made, and nobody ever answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        change(monkeypatch, "mnist", mirrors=(url, url, url))
        start = time.perf_counter()
        assert load("auto", tmp_path).name == "digits"
        assert time.perf_counter() - start < 3


def test_name_lookup_that_hangs_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hung.wait(20) and [])
    start = time.perf_counter()
    assert load("auto", tmp_path).name == "digits"
    assert time.perf_counter() - start < 3
    hung.set()


def test_folder_that_cannot_be_written(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, idx_set(), mirror.serve("a", idx_set()))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)  # as root, permissions of a real folder would not stop the test
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\).*--data-dir"):
        load("mnist", tmp_path / "new")


def test_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"file: is a file"):
        load("auto", tmp_path / "file")


# CIFAR-10


@pytest.fixture
def small_cifar(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Six batches of two records each: label, then the red, green and blue planes, white in the lower half."""
    monkeypatch.setattr(cifar, "RECORDS", 2)
    batches = {}
    for number, name in enumerate(catalog.CIFAR10.contents):
        planes = b"".join(bytes([10 * number + plane]) * 512 + b"\xff" * 512 for plane in range(3))
        batches[name] = bytes([number]) + planes + bytes([9]) + planes
    return batches


def tar(batches: dict[str, bytes], **extra: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in ({f"cifar-10-batches-bin/{name}": batches[name] for name in batches} | extra).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def publish_cifar(monkeypatch: pytest.MonkeyPatch, archive: bytes, *mirrors: str) -> None:
    downloads = {"cifar-10-binary.tar.gz": hashlib.sha256(archive).hexdigest()}
    change(monkeypatch, "cifar10", downloads=downloads, **({"mirrors": mirrors} if mirrors else {}))


def test_cifar_archive_gives_its_batches_and_nothing_else(
    tmp_path: Path, no_network: None, small_cifar: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar(small_cifar, **{"../../escaped.bin": b"x", "cifar-10-batches-bin/readme.html": b"x"})
    publish_cifar(monkeypatch, archive)
    put(tmp_path / "cifar10", {"cifar-10-binary.tar.gz": archive})
    data = load("cifar10", tmp_path)
    assert data.images.shape == (12, 32, 32, 3)
    assert data.images[2, 5, 20].tolist() == [10, 11, 12]
    assert data.images[2, 20, 5].tolist() == [255, 255, 255]
    assert data.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert data.official_train == 10
    assert listing(tmp_path / "cifar10") == sorted([*small_cifar, "cifar-10-binary.tar.gz", "sha256.json"])
    assert listing(tmp_path) == ["cifar10"]


def test_cifar_is_fetched(
    tmp_path: Path, mirror: Mirror, small_cifar: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files["/cifar-10-binary.tar.gz"] = archive = tar(small_cifar)
    publish_cifar(monkeypatch, archive, mirror.url)
    load("cifar10", tmp_path)
    load("cifar10", tmp_path)
    assert mirror.asked == ["/cifar-10-binary.tar.gz"]
    assert listing(tmp_path / "cifar10") == sorted([*small_cifar, "sha256.json"])


def test_cifar_archive_that_is_damaged_or_incomplete(
    tmp_path: Path, no_network: None, small_cifar: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "cifar10", {"cifar-10-binary.tar.gz": b"something"})
    with pytest.raises(UserError, match=r"cifar-10-binary.tar.gz: SHA-256"):
        load("cifar10", tmp_path)
    for archive, message in [
        (tar(small_cifar)[:-90], "damaged"),
        (tar(small_cifar | {"test_batch.bin": b"short"}), "lacks .*test_batch.bin"),
    ]:
        publish_cifar(monkeypatch, archive)
        put(tmp_path / "cifar10", {"cifar-10-binary.tar.gz": archive})
        with pytest.raises(UserError, match=message):
            load("cifar10", tmp_path)
        assert listing(tmp_path / "cifar10") == ["cifar-10-binary.tar.gz"]


def test_cifar_batch_of_the_wrong_length(tmp_path: Path, no_network: None, small_cifar: dict[str, bytes]) -> None:
    put(tmp_path / "cifar10", small_cifar | {"data_batch_2.bin": b"x" * 99})
    with pytest.raises(UserError, match=r"data_batch_2.bin: 99 bytes, expected 6146"):
        load("cifar10", tmp_path)


# Names and places


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown name 'fashion-mnist' \(did you mean 'fashion_mnist'\?\)"):
        load("fashion-mnist")
    with pytest.raises(UserError, match=r"expected mnist, fashion_mnist, cifar10, digits, auto or the path"):
        load("zzz")


def test_digits_are_bundled() -> None:
    data = load("digits")
    assert data.images.shape == (1797, 8, 8, 1)
    assert (data.images.max(), data.max_value, data.official_train, data.n_classes) == (16, 16.0, None, 10)


def test_data_cannot_be_changed_by_accident() -> None:
    data = load("digits")
    with pytest.raises(ValueError, match=r"read-only"):
        data.images[0] = 0


def test_listing_says_where_each_set_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fashion_on_disk(tmp_path)
    monkeypatch.setenv("SAMENET_DATA_DIR", str(tmp_path))
    where = {entry.name: entry.where for entry in available()}
    assert where["fashion_mnist"] == str(folder)
    assert where["mnist"].startswith("not on disk")
    assert {"mnist", "fashion_mnist", "cifar10", "digits", "auto", "FILE.npz"} == set(where)


@pytest.mark.skipif(not REAL.is_dir(), reason="SAMENET_DATA_DIR names no folder with MNIST")
def test_real_mnist() -> None:
    data = load("auto")
    assert data.name == "mnist"
    assert data.note is None
    assert data.images.shape == (70_000, 28, 28, 1)
    assert data.official_train == 60_000
    assert np.bincount(data.labels[60_000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.images[:60_000].mean() == pytest.approx(33.3184, abs=1e-3)
