"""The live demo: the models it chooses, what they answer to a test image that is drawn, and whom it answers."""

from __future__ import annotations

import http.client
import json
import os
import socket

import numpy as np
import psutil
import pytest

from common import data
from common.demo.chosen import choose
from common.demo.server import MOST_BYTES, MOST_PIXELS
from common.drawn import prepare
from common.store import Run
from common.trial import empty_record
from config import Trial
from tests.command import call
from tests.demo_server import Served, as_request, served, trained

pytestmark = pytest.mark.slow  # trains and serves

FLAGS = (
    "--dataset",
    "digits",
    "--backend",
    "sklearn",
    "--backend",
    "torch",
    "--seeds",
    2,
    "--split",
    0.8,
    "--threads",
    1,
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Serve a run with two frameworks and an attention network, trained well enough to read its digits."""
    folder = tmp_path_factory.mktemp("demo")
    run = trained(folder, *FLAGS, "--arch", "ffn:64", "ffn:4", "attention_2k", "--epochs", 6)
    with served(run) as running:
        yield running


def models(demo: Served) -> list[dict]:
    status, _, body = demo.ask("GET", "/models")
    assert status == 200
    found: list[dict] = json.loads(body)["models"]
    return found


def test_a_test_image_drawn_gets_the_models_own_answer(demo):
    """Of digits that are centered as a drawing would be, the pixels arrive as they are, and so does the answer."""
    digits, run = data.load("digits"), Run(demo.run)
    chosen = choose(run, "digits")
    with np.load(run.artefacts(chosen[0].record["key"]) / "predictions.npz") as saved:
        rows = saved["index"]
    answers = {}
    for model in chosen:
        with np.load(run.artefacts(model.record["key"]) / "predictions.npz") as saved:
            answers[model.title] = dict(zip(saved["index"].tolist(), saved["predicted"].tolist(), strict=True))
    raw = digits.images[..., 0]
    same = [row for row in rows if np.array_equal(prepare(to_gray(raw[row]), 8, 8, 3.5), to_gray(raw[row]))]
    assert len(same) > 20
    for row in same[:20]:
        canvas = np.zeros((300, 340), np.uint8)
        canvas[30:270, 50:290] = to_gray(raw[row]).repeat(30, axis=0).repeat(30, axis=1)
        found = demo.answer(canvas)
        assert np.array_equal(found["seen"], to_gray(raw[row]))
        assert [int(answer["top"][0]["label"]) for answer in found["answers"]] == [
            answers[model.title][row] for model in chosen
        ]


def to_gray(image: np.ndarray) -> np.ndarray:
    return np.rint(image / 16 * 255).astype(np.uint8)


def test_drawings_anywhere_on_the_pad_are_read(demo):
    """What the trials got right of the test set is mostly right again when it is drawn: far from chance."""
    digits = data.load("digits")
    rng, right = np.random.default_rng(0), []
    for row in rng.permutation(len(digits.labels))[:40]:
        canvas = np.zeros((280, 280), np.uint8)
        top, left = rng.integers(0, 120, 2)
        canvas[top : top + 160, left : left + 160] = to_gray(digits.images[row, :, :, 0]).repeat(20, 0).repeat(20, 1)
        found = demo.answer(canvas)
        right += [answer["top"][0]["label"] == str(digits.labels[row]) for answer in found["answers"]]
    assert np.mean(right) > 0.7


def test_an_answer_has_the_top_three_and_where_attention_looks(demo):
    digits = data.load("digits")
    found = demo.answer(to_gray(digits.images[0, :, :, 0]))
    about = models(demo)
    assert [model["framework"] for model in about][:2] == ["sklearn", "torch"]
    for model, answer in zip(about, found["answers"], strict=True):
        shares = [one["probability"] for one in answer["top"]]
        assert len(shares) == 3 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1 + 1e-6
        assert {one["label"] for one in answer["top"]} <= set("0123456789")
        assert model["attends"] == (model["architecture"] == "attention_2k")
        assert [look["layer"] for look in answer["attention"]] == (["block 1", "pooling"] if model["attends"] else [])
        for look in answer["attention"]:
            assert np.array(look["shares"]).shape == (8, 8) and np.sum(look["shares"]) == pytest.approx(1, abs=1e-5)
    assert any(model["attends"] for model in about)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_largest_drawing_is_read(demo, axis):
    large = np.zeros((MOST_PIXELS, MOST_PIXELS), np.uint8)
    large[100:900, 480:520] = 255
    assert demo.answer(large if axis else large.T)["answers"]


def pixels(width: object = 2, height: object = 2, content: object = "/wAA/w==") -> str:
    return json.dumps({"width": width, "height": height, "pixels": content})


BAD = {
    "no JSON": "{",
    "deep JSON": "[" * 100_000,
    "no text": b"\xff\xfe\x00",
    "a list": "[1]",
    "nothing": "{}",
    "one field more": json.dumps({**json.loads(pixels()), "path": "/etc/passwd"}),
    "a width in words": pixels(width="2"),
    "a width that is true": pixels(width=True, content="/w=="),
    "a width of half": pixels(width=2.0),
    "no height": pixels(height=0),
    "a negative height": pixels(height=-2),
    "too wide": pixels(width=MOST_PIXELS + 1),
    "fewer pixels": pixels(width=3),
    "more pixels": pixels(width=1),
    "no base64": pixels(content="<script>"),
    "pixels in a list": pixels(content=[255, 0, 0, 255]),
    "no pixels": pixels(content=None),
    "no ink": pixels(content="AAAAAA=="),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_bad_requests_get_one_line(demo, body):
    status, _, said = demo.ask("POST", "/answers", body)
    assert status == 400, said
    assert said.endswith(b"\n") and said.count(b"\n") == 1 and len(said) < 200 and b"Traceback" not in said
    assert demo.answer(np.eye(28, dtype=np.uint8) * 255)["answers"], "it goes on"


@pytest.mark.parametrize("length", ["", "abc", "-1", "0", str(MOST_BYTES + 1), "9" * 30, "1_0", "²"])
def test_a_length_that_is_none_is_refused_before_anything_is_read(demo, length):
    connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=30)
    connection.putrequest("POST", "/answers")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", length.encode("utf-8"))
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Content-Type": "text/plain"}, 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 400),
    ],
    ids=str,
)
def test_only_its_own_page_is_answered(demo, headers, status):
    given = {name: value.format(port=demo.port) for name, value in headers.items()}
    body = as_request(np.eye(28, dtype=np.uint8) * 255)
    assert demo.ask("POST", "/answers", body, given)[0] == status
    if "Content-Type" not in headers:
        assert demo.ask("GET", "/models", headers=given)[0] == status


@pytest.mark.parametrize("path", ["/page.py", "/../server.py", "//etc/passwd", "/%2e%2e/server.py", "/models/", "/?x"])
def test_no_other_file_is_served(demo, path):
    assert demo.ask("GET", path)[0] == 404


def test_the_page_may_load_nothing_from_anywhere(demo):
    for path in ("/", "/page.css", "/page.js", "/icon.svg", "/models", "/nothing"):
        _, headers, body = demo.ask("GET", path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
        assert b"//" not in body.replace(b"http://www.w3.org/2000/svg", b"").replace(b"// ", b""), path
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_it_listens_on_this_machine_alone(demo):
    listening = [one.laddr.ip for one in psutil.Process(demo.process.pid).net_connections() if one.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    others = {one.address for many in psutil.net_if_addrs().values() for one in many if one.family == socket.AF_INET}
    for address in others - {"127.0.0.1"}:
        with pytest.raises(OSError):
            socket.create_connection((address, demo.port), timeout=5)


def test_a_port_in_use_is_the_users_mistake(demo):
    done = call("demo", demo.run, "--port", demo.port)
    assert done.status == 2 and len(done.err.splitlines()[-1:]) == 1
    assert f"--port: {demo.port} cannot be had" in done.err and "Traceback" not in done.err


def test_ctrl_c_ends_it_and_its_workers(tmp_path):
    run = trained(tmp_path, *FLAGS, "--arch", "ffn:4", "--epochs", 1)
    with served(run) as running:
        workers = psutil.Process(running.process.pid).children(recursive=True)
        assert len(workers) == 2
        status, err = running.interrupt()
        assert status == 0 and "Traceback" not in err and "stopped" not in err
        assert not psutil.wait_procs(workers, timeout=10)[1]


def test_a_model_that_is_damaged_is_left_out_and_said(tmp_path):
    run = trained(tmp_path, *FLAGS, "--arch", "ffn:4", "--epochs", 1)
    for path in run.glob("trials/*/*/model.safetensors"):
        path.write_bytes(b"damaged")
    with served(run) as running:
        assert [model["framework"] for model in models(running)] == ["sklearn"]
        _, err = running.interrupt()
    assert "warning: left out: torch cannot open its ffn:4" in err
    for path in run.glob("trials/*/*/model.skops"):
        path.write_bytes(b"damaged")
    done = call("demo", run)
    assert done.status == 2 and "sklearn cannot open its ffn:4" in done.err and "Traceback" not in done.err


def test_runs_that_cannot_be_drawn_for_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "colors.npz", X=rng.integers(0, 255, (60, 8, 8, 3), np.uint8), y=np.arange(60) % 3)
    run = trained(tmp_path / "results", "--backend", "sklearn", "--arch", "ffn:2", "--epochs", 1, "--dataset",
                  tmp_path / "colors.npz")  # fmt: skip
    done = call("demo", run)
    assert done.status == 2
    assert done.err.startswith("compare.py: ") and "(colors) are no digits that could be drawn" in done.err
    assert call("demo", "no_such_run").status == 2
    assert call("demo", run, "--port", "70000").status == 2


def written(folder, *trials: tuple[str, str, int, float | None, float, bool]) -> Run:
    """Write a run of records alone: backend, architecture, seed, validation and test accuracy, and whether a model."""
    run, keys = Run(folder), []
    for backend, architecture, seed, val, test, with_model in trials:
        fields = {"backend": backend, "architecture": architecture, "seed": seed, "dataset": "digits"}
        trial = Trial.model_validate(fields, context=VOCABULARY)
        if with_model:
            run.staging(trial.key).mkdir(parents=True)
            (run.staging(trial.key) / "model.npz").touch()
        run.write({**empty_record(trial), "status": "ok", "val_accuracy": val, "test_accuracy": test})
        keys.append(trial.key)
    study = {
        "name": "digits",
        "question": "Which?",
        "recommend": None,
        "datasets": ["digits"],
        "note": None,
        "keys": keys,
    }
    (folder / "study.json").write_text(json.dumps(study), encoding="utf-8")
    return run


def test_validation_chooses_over_seeds_and_test_data_never_do(tmp_path):
    run = written(
        tmp_path,
        ("torch", "ffn:1", 0, 0.99, 0.99, True),
        ("torch", "ffn:1", 1, 0.51, 0.99, True),
        ("torch", "ffn:2", 0, 0.80, 0.10, False),
        ("torch", "ffn:2", 1, 0.82, 0.10, True),
        ("torch", "ffn:3", 0, 0.95, 0.99, False),
        ("torch", "attention_2k", 0, 0.70, 0.20, True),
        ("torch", "attention_5k", 0, 0.60, 0.90, True),
        ("torch", "attention_10k+scores=uniform", 0, 0.79, 0.90, True),
        ("sklearn", "ffn:4", 0, 0.10, 0.10, True),
        ("sklearn", "ffn:5", 0, None, 0.90, True),
    )
    chosen = choose(run, "digits")
    assert [(one.framework, one.record["architecture"], one.record["seed"], one.seeds) for one in chosen] == [
        ("torch", "ffn:2", 1, 2),
        ("sklearn", "ffn:4", 0, 1),
        ("torch", "attention_2k", 0, 1),
    ]
    assert chosen[0].val_accuracy == pytest.approx(0.81)


def test_an_attention_network_that_is_its_frameworks_best_stands_once(tmp_path):
    run = written(tmp_path, ("torch", "ffn:1", 0, 0.5, 0.9, True), ("torch", "attention_2k", 0, 0.9, 0.1, True))
    assert [one.record["architecture"] for one in choose(run, "digits")] == ["attention_2k"]


def _vocabulary():
    import backends

    return backends.vocabulary()


VOCABULARY = _vocabulary()


@pytest.mark.mnist
@pytest.mark.skipif("SAMENET_DATA_DIR" not in os.environ, reason="needs the real MNIST")
def test_digits_of_mnist_drawn_get_the_models_own_answer(tmp_path):
    run = trained(tmp_path, "--dataset", "mnist", "--backend", "torch", "--backend", "sklearn", "--rows", 6000,
                  "--arch", "ffn:64", "attention_2k", "--epochs", 2, "--seeds", 1, "--split", 0.8)  # fmt: skip
    mnist = data.load("mnist")
    chosen = choose(Run(run), "mnist")
    with np.load(Run(run).artefacts(chosen[0].record["key"]) / "predictions.npz") as saved:
        rows, predicted = saved["index"], saved["predicted"]
    agreed = []
    with served(run) as demo:
        for row, label in list(zip(rows, predicted, strict=True))[:60]:
            canvas = np.zeros((280, 280), np.uint8)
            canvas[:] = mnist.images[row, :, :, 0].repeat(10, axis=0).repeat(10, axis=1)
            found = demo.answer(canvas)
            agreed.append(found["answers"][0]["top"][0]["label"] == str(label))
            if np.array_equal(found["seen"], mnist.images[row, :, :, 0]):
                assert agreed[-1], "the very pixels get another answer"
    assert np.mean(agreed) > 0.9
