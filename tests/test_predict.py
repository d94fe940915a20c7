"""Pictures classified by an exported file: drawn in many ways, damaged, or none at all."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from common.data import load
from tests.command import ROOT, call, study, the_run

pytest.importorskip("onnxruntime")


def model_of(folder: Path, **fields: object) -> Path:
    """Train one network, export it, and return the file."""
    file = study(folder, rows=None, threads=1, **fields)
    assert call("--study", file, "--results", folder / "results", "--quiet").status == 0
    run = the_run(folder / "results")
    done = call("export", run)
    assert done.status == 0, done.err
    (path,) = run.glob("export/*/model.onnx")
    return path


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {"epochs": 30, "optimizer": "adam", "learning_rate": 0.01, "early_stopping_patience": None}
    return model_of(tmp_path_factory.mktemp("m"), backend="sklearn", architecture="ffn:32", training=training)


def enlarged(row: int, side: int = 160) -> np.ndarray:
    """Return one of the bundled digits as a picture of dark ink on white paper."""
    image = load("digits").images[row, :, :, 0] * (255 / 16)
    return 255 - np.asarray(Image.fromarray(image.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC))


# What is classified


def test_png_jpeg_arrays_and_folders_are_classified_in_one_table(digits_model: Path, tmp_path: Path) -> None:
    rows = list(range(20, 30))
    (tmp_path / "folder").mkdir()
    for row in rows[:5]:
        Image.fromarray(enlarged(row)).save(tmp_path / "folder" / f"{row}.png")
    Image.fromarray(enlarged(rows[5])).convert("RGB").save(tmp_path / "5.jpg")
    np.save(tmp_path / "one.npy", enlarged(rows[6]) / 255)
    np.save(tmp_path / "three.npy", np.stack([enlarged(row) for row in rows[7:]]))
    named = [tmp_path / name for name in ("folder", "5.jpg", "one.npy", "three.npy")]
    done = call("predict", digits_model, *named, "--json")
    assert done.status == 0, done.err
    document = json.loads(done.out)
    assert document["model"]["architecture"] == "ffn:32"
    found = document["images"]
    assert [Path(one["file"]).name for one in found] == [
        *(f"{row}.png" for row in rows[:5]), "5.jpg", "one.npy", "three.npy[0]", "three.npy[1]", "three.npy[2]",
    ]  # fmt: skip
    right = [one["class"] == str(load("digits").labels[row]) for one, row in zip(found, rows, strict=True)]
    assert sum(right) >= 8, right
    for one in found:
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert one["probability"] == max(one["probabilities"].values())
    table = call("predict", digits_model, *named)
    assert table.status == 0
    lines = table.out.splitlines()
    assert "ffn:32 · sklearn · digits · test accuracy" in lines[0]
    for one in found:
        (line,) = [line for line in lines if line.startswith(one["file"] + " ")]
        assert line.split()[1] == one["class"] and f"{one['probability']:.4f}" in line


@pytest.mark.parametrize("shape", [(10, 8, 8), (10, 64)], ids=str)
def test_arrays_may_be_as_the_models_data_are(shape: tuple[int, ...], digits_model: Path, tmp_path: Path) -> None:
    digits = load("digits")
    np.save(tmp_path / "own.npy", digits.images[:10].reshape(shape))  # 0 to 16
    done = call("predict", digits_model, tmp_path / "own.npy", "--json")
    assert done.status == 0, done.err
    found = [image["class"] for image in json.loads(done.out)["images"]]
    assert sum(one == str(label) for one, label in zip(found, digits.labels, strict=False)) >= 8


def test_a_square_array_is_one_picture(digits_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.kron(load("digits").images[0, :, :, 0], np.ones((8, 8), np.uint8)) * 15)
    done = call("predict", digits_model, tmp_path / "large.npy", "--json")
    (image,) = json.loads(done.out)["images"]
    assert image["class"] == str(load("digits").labels[0])


def test_a_folder_is_no_model(digits_model: Path) -> None:
    done = call("predict", digits_model.parent, digits_model)
    assert done.status == 2 and "is a folder; give a model.onnx" in done.err


def test_what_is_drawn_larger_inverted_or_elsewhere_is_the_same(digits_model: Path, tmp_path: Path) -> None:
    paper = enlarged(3)
    moved = np.full((400, 500), 255, np.uint8)
    moved[10:170, 300:460] = paper
    pictures = {"paper": paper, "inverted": 255 - paper, "moved": moved, "color": np.stack([paper] * 3, axis=2)}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    Image.fromarray(paper.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    found = json.loads(call("predict", digits_model, tmp_path, "--json").out)["images"]
    assert len(found) == 5
    assert np.ptp([one["probability"] for one in found]) < 0.02
    assert len({one["class"] for one in found}) == 1


def test_no_framework_is_imported(digits_model: Path, tmp_path: Path) -> None:
    Image.fromarray(enlarged(0)).save(tmp_path / "0.png")
    heavy = {"torch", "tensorflow", "keras", "jax", "sklearn", "pandas", "scipy", "onnx", "matplotlib"}
    script = f"import sys, compare; compare.main(sys.argv[1:]); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script, "predict", str(digits_model), str(tmp_path / "0.png")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_images_that_are_no_drawings_are_only_resized(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 60)
    images = rng.integers(0, 40, (180, 6, 6, 3)).astype(np.uint8)
    images[np.arange(180), :, :, labels] += 200
    np.savez(tmp_path / "colors.npz", X=images, y=labels)
    training = {"epochs": 20, "optimizer": "adam", "learning_rate": 0.01, "batch_size": 16}
    file = study(tmp_path, rows=None, threads=1, backend="sklearn", architecture="ffn:8", training=training,
                 dataset=str(tmp_path / "colors.npz"))  # fmt: skip
    assert call("--study", file, "--results", tmp_path / "r", "--quiet").status == 0
    run = the_run(tmp_path / "r")
    refused = call("export", run)
    assert refused.status == 1 and "colors" in refused.err
    assert call("export", run, "--dataset", tmp_path / "colors.npz").status == 0
    (model,) = run.glob("export/*/model.onnx")
    for color in ("red", "lime", "blue"):
        Image.new("RGB", (300, 200), color).save(tmp_path / f"{color}.png")
    done = call("predict", model, *(tmp_path / f"{color}.png" for color in ("red", "lime", "blue")), "--json")
    assert [one["class"] for one in json.loads(done.out)["images"]] == ["0", "1", "2"]


# What cannot be


def bomb(path: Path, side: int = 20_000) -> None:
    """Write a whole PNG of side x side pixels, black and white, in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side // 8 + 1) * side), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:-9000])


def flipped(path: Path) -> None:
    Image.fromarray(enlarged(0)).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)


def cut_jpeg(path: Path) -> None:
    Image.fromarray(enlarged(0)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:600])


def object_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def lying_array(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6)})


def large_array(path: Path) -> None:
    np.lib.format.open_memmap(path, "w+", np.uint8, (20_000, 20_000)).flush()


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.png": (lambda path: path.write_bytes(b""), "is empty"),
    "truncated.png": (truncated, "is damaged"),
    "flipped.png": (flipped, "is damaged"),
    "cut.jpg": (cut_jpeg, "is damaged"),
    "huge.png": (bomb, "is more than 50 megapixels, and is not decoded"),
    "large.png": (lambda path: bomb(path, 8_000), "8000 x 8000 is more than 50 megapixels"),
    "text.png": (lambda path: path.write_text("this is no picture"), "is no PNG, JPEG or .npy"),
    "script.py": (lambda path: path.write_text("print('no')"), "is no PNG, JPEG or .npy"),
    "moving.gif": (lambda path: Image.new("L", (9, 9)).save(path, "GIF"), "is no PNG, JPEG or .npy"),
    "blank.png": (lambda path: Image.new("L", (90, 90), 255).save(path), "there is no ink in it"),
    "pickle.npy": (object_array, "is no array of numbers"),
    "lying.npy": (lying_array, "is no array of numbers"),
    "large.npy": (large_array, "is more than 50 megapixels"),
    "words.npy": (lambda path: np.save(path, np.array(["a", "b"])), "give numbers (h, w)"),
    "nan.npy": (lambda path: np.save(path, np.full((9, 9), np.nan)), "not all of its values are finite"),
    "range.npy": (lambda path: np.save(path, np.arange(81).reshape(9, 9) * 100), "values from 0 to 8000"),
    "missing.png": (lambda path: None, "there is no such file"),
    "pipe": (lambda path: os.mkfifo(path), "is no file"),
}


def test_what_is_wrong_with_one_file_is_one_line_and_the_others_are_classified(
    digits_model: Path, tmp_path: Path
) -> None:
    for name, (make, _) in BAD.items():
        make(tmp_path / name)
    for name in ("a.png", "z.png"):
        Image.fromarray(enlarged(0)).save(tmp_path / name)
    named = [tmp_path / "a.png", *(tmp_path / name for name in BAD), tmp_path / "z.png"]
    script = (
        "import sys, compare; status = compare.main(sys.argv[1:]); sys.stdout.flush();"
        "high = [line for line in open('/proc/self/status') if line.startswith('VmHWM')][0];"
        "print(high.split()[1], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "predict", str(digits_model), *map(str, named), "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    *lines, high_kb = done.stderr.splitlines()
    assert done.returncode == 1
    assert len(lines) == len(BAD)
    for (name, (_, said)), line in zip(BAD.items(), lines, strict=True):
        assert line.startswith(f"compare.py: {tmp_path / name}: ") and said in line, line
    images = json.loads(done.stdout)["images"]
    assert [Path(one["file"]).name for one in images] == [path.name for path in named]
    assert [Path(one["file"]).name for one in images if "class" in one] == ["a.png", "z.png"]
    assert all(one["error"] in line for one, line in zip(images[1:-1], lines, strict=True))
    assert int(high_kb) < 300_000, "400 million pixels were decoded"


def test_a_folder_without_files_is_the_users_mistake(digits_model: Path, tmp_path: Path) -> None:
    done = call("predict", digits_model, tmp_path)
    assert done.status == 2 and "there are no files in it" in done.err


# Hand-made digits

SHAPES: dict[int, list[list[tuple[float, float]]]] = {
    0: [[(50, 10), (25, 25), (18, 50), (25, 75), (50, 90), (75, 75), (82, 50), (75, 25), (50, 10)]],
    1: [[(50, 10), (50, 90)]],
    2: [[(24, 30), (32, 14), (52, 9), (72, 18), (76, 36), (62, 56), (22, 88), (80, 88)]],
    3: [[(25, 16), (48, 9), (70, 17), (72, 34), (45, 47), (72, 58), (76, 76), (52, 91), (24, 82)]],
    4: [[(36, 10), (20, 55), (78, 55)], [(66, 22), (62, 92)]],
    5: [[(74, 10), (32, 10), (28, 44), (52, 40), (74, 52), (74, 76), (52, 90), (24, 82)]],
    6: [[(64, 8), (40, 28), (26, 60), (34, 84), (56, 90), (72, 74), (62, 56), (42, 56), (28, 70)]],
    7: [[(22, 14), (78, 14), (46, 90)]],
    8: [[(50, 48), (30, 34), (32, 16), (50, 9), (68, 16), (70, 34), (50, 48), (28, 64), (30, 82), (50, 91), (70, 82),
         (72, 64), (50, 48)]],
    9: [[(70, 30), (54, 46), (34, 40), (30, 22), (48, 10), (68, 16), (70, 32), (66, 62), (58, 92)]],
}  # fmt: skip


def drawn(digit: int, pen: int = 9, size: tuple[int, int] = (280, 280), scale: float = 2.4,
          at: tuple[int, int] = (20, 20)) -> np.ndarray:  # fmt: skip
    """Draw a digit's strokes with a round pen, white on black; return (h, w) uint8."""
    picture = Image.new("L", size)
    pencil = ImageDraw.Draw(picture)
    width = pen * scale
    for stroke in SHAPES[digit]:
        points = [(at[0] + x * scale, at[1] + y * scale) for x, y in stroke]
        pencil.line(points, fill=255, width=round(width), joint="curve")
        for x, y in points:
            pencil.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(scale / 2)))


def colored(ink: np.ndarray, pen: tuple[int, int, int], paper: tuple[int, int, int]) -> np.ndarray:
    share = ink[:, :, None] / 255
    return (share * np.array(pen) + (1 - share) * np.array(paper)).astype(np.uint8)


def transparent(ink: np.ndarray) -> np.ndarray:
    return np.dstack([np.zeros((*ink.shape, 3), np.uint8), ink])


def noisy(ink: np.ndarray) -> np.ndarray:
    return np.clip(190 + np.random.default_rng(0).normal(0, 5, ink.shape) - 0.6 * ink, 0, 255).astype(np.uint8)


CASES: dict[str, tuple[int, np.ndarray]] = {
    **{f"{digit} in chalk": (digit, drawn(digit)) for digit in range(10)},
    **{f"{digit} thick, dark on white": (digit, 255 - drawn(digit, pen=16)) for digit in (0, 2, 3, 5, 7)},
    **{f"{digit} thin": (digit, drawn(digit, pen=4)) for digit in (0, 1, 3, 4, 7)},
    **{f"{digit} off center": (digit, drawn(digit, scale=1.1, at=(160, 8))) for digit in (2, 5, 6)},
    **{f"{digit}, 500 x 700": (digit, 255 - drawn(digit, size=(500, 700), scale=3.5, at=(60, 300))) for digit in (3, 4, 9)},
    **{f"{digit} blue on yellow": (digit, colored(drawn(digit), (20, 30, 160), (250, 240, 150))) for digit in (0, 2, 8)},
    **{f"{digit} red on gray": (digit, colored(drawn(digit), (220, 20, 30), (200, 200, 200))) for digit in (5, 7)},
    "4 on nothing": (4, transparent(drawn(4))),
    "6 on noisy paper": (6, noisy(drawn(6))),
}  # fmt: skip


def photographed(image: np.ndarray, number: int) -> np.ndarray:
    """Return one of MNIST's digits as a scan of paper would show it: larger, dark on bright, somewhere on the page."""
    large = np.asarray(Image.fromarray(image).resize((196, 196), Image.Resampling.BICUBIC))
    page = np.full((500, 700), 240, np.int64)
    top, left = 13 * number % 300, 57 * number % 500
    page[top : top + 196, left : left + 196] -= large.astype(np.int64) * 220 // 255
    return page.astype(np.uint8)


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.skipif("SAMENET_DATA_DIR" not in os.environ, reason="needs the real MNIST")
def test_digits_drawn_in_another_program_are_classified_right(tmp_path: Path) -> None:
    training = {"epochs": 3, "batch_size": 128, "optimizer": "adam", "learning_rate": 0.002, "augmentation": "affine"}
    way = {"backend": "torch", "architecture": "fast_cnn", "dataset": "mnist", "train_share": "official"}
    model = model_of(tmp_path, **way, training=training)
    mnist = load("mnist")
    scans = {f"scan {row}": (int(mnist.labels[row]), photographed(mnist.images[row, :, :, 0], row - 60_000))
             for row in range(60_000, 60_020)}  # fmt: skip
    cases = CASES | scans
    assert len(CASES) >= 20
    expected = {}
    for number, (name, (digit, picture)) in enumerate(cases.items()):
        path = tmp_path / f"{number:02d} {name}.{'png' if number % 3 or picture.shape[2:] == (4,) else 'jpg'}"
        Image.fromarray(picture).save(path)
        expected[str(path)] = str(digit)
    done = call("predict", model, *expected, "--json")
    assert done.status == 0, done.err
    wrong = {
        Path(one["file"]).name: (one["class"], round(one["probability"], 3))
        for one in json.loads(done.out)["images"]
        if one["class"] != expected[one["file"]]
    }
    scanned = {name: found for name, found in wrong.items() if "scan" in name}
    assert wrong == scanned, "a drawing"
    assert len(scanned) <= 1, scanned  # the network itself errs on some of MNIST's
