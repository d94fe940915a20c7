"""Models on disk looked at again: they answer as their trials did, and nothing else is opened."""

from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from common import data
from common.inputs import load_inputs
from common.store import Run
from common.viewing import Viewer
from config import Trial, UserError
from tests.command import call, study, the_run, workers_of_this_process

pytestmark = pytest.mark.slow  # trains in three frameworks' processes, and opens models in others

GRIDS = [
    {"backend": ["sklearn", "torch"], "architecture": "ffn:100", "features": {"scaling": "standard", "input_size": 6}},
    {"backend": "sklearn", "architecture": "ffn:9", "features": {"pca": 10}},
    {"backend": "torch", "architecture": ["attention_2k", "attention_pure", "cnn+width=8"]},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewing")
    path = study(folder, grids=GRIDS, training={"optimizer": "adam", "learning_rate": 0.01})
    done = call("--study", path, "--results", folder / "results", "--quiet")
    assert done.status == 0, done.err + done.out
    return Run(the_run(folder / "results"))


@pytest.fixture(scope="module")
def viewer():
    with Viewer({}, None) as opened:
        yield opened
    assert not workers_of_this_process()


def model(run: Run, backend: str, architecture: str) -> tuple[dict, Path]:
    (record,) = (r for r in run.records() if (r["backend"], r["architecture"]) == (backend, architecture))
    (path,) = run.artefacts(record["key"]).glob("model.*")
    return record, path


def test_models_answer_as_their_trials_did(run, viewer):
    digits = data.load("digits")
    for record in run.records():
        _, path = model(run, record["backend"], record["architecture"])
        with np.load(run.artefacts(record["key"]) / "predictions.npz") as saved:
            index, predicted = saved["index"], saved["predicted"]
        look = viewer.look(record, path, digits.images[index])
        assert np.array_equal(look.probabilities.argmax(axis=1), predicted), record["architecture"]
        assert np.allclose(look.probabilities.sum(axis=1), 1, atol=1e-5)
        expected = load_inputs(Trial.model_validate_json(json.dumps(record["spec"])), digits).inputs["test"]
        assert np.array_equal(look.inputs.astype(np.float32), expected), record["architecture"]


def test_attention_is_seen_where_there_is_some(run, viewer):
    images = data.load("digits").images[:3]
    look = viewer.look(*model(run, "torch", "attention_2k"), images)
    assert list(look.attention) == ["blocks/block_0/attend", "pool"]
    for map in look.attention.values():
        assert map.shape == (3, 8, 8) and np.allclose(map.sum(axis=(1, 2)), 1)
    assert viewer.look(*model(run, "torch", "ffn:100"), images).attention == {}
    assert viewer.look(*model(run, "sklearn", "ffn:100"), images).attention == {}


def test_the_first_kernel_comes_in_the_canonical_layout(run, viewer):
    from safetensors.numpy import load_file

    record, path = model(run, "torch", "ffn:100")
    kernel = viewer.kernel(record, path)
    assert kernel.shape == (36, 64), "64 units of 100 at most"
    (saved,) = (array for array in load_file(path).values() if array.shape == (100, 36))
    assert np.allclose(kernel, saved.T[:, :64])
    assert viewer.kernel(*model(run, "sklearn", "ffn:9")).shape == (10, 9)
    assert viewer.kernel(*model(run, "torch", "cnn+width=8")).shape == (3, 3, 1, 8)
    assert viewer.kernel(*model(run, "torch", "attention_pure")) is None, "single-weight neurons come first"


def test_a_backend_has_one_process_for_all_its_models(run):
    images = data.load("digits").images[:2]
    others = {worker.pid for worker in workers_of_this_process()}
    with Viewer({}, None) as viewer:
        for record in run.records():
            viewer.look(record, model(run, record["backend"], record["architecture"])[1], images)
        started = {worker.pid for worker in workers_of_this_process()} - others
        assert len(started) == 2
        viewer.kernel(*model(run, "torch", "attention_2k"))
        assert {worker.pid for worker in workers_of_this_process()} - others == started
    assert {worker.pid for worker in workers_of_this_process()} <= others


def test_several_threads_may_ask(run, viewer):
    images = data.load("digits").images[:40]
    places = [model(run, record["backend"], record["architecture"]) for record in run.records()]
    alone = [viewer.look(*place, images[at : at + 1]).probabilities for place in places for at in range(8)]
    with ThreadPoolExecutor(8) as threads:
        asked = [(place, at) for place in places for at in range(8)]
        together = list(threads.map(lambda one: viewer.look(*one[0], images[one[1] : one[1] + 1]), asked))
    assert all(np.array_equal(one, other.probabilities) for one, other in zip(alone, together, strict=True))


class Bomb:
    def __reduce__(self):
        return (os.mkdir, (str(Path(self.place)),))

    def __init__(self, place: Path) -> None:
        self.place = place


@pytest.mark.parametrize("backend", ["sklearn", "torch"])
def test_what_is_no_model_is_refused_in_words_and_never_unpickled(run, viewer, backend, tmp_path):
    record, path = model(run, backend, "ffn:100")
    images = data.load("digits").images[:1]
    place = tmp_path / "exploded"
    contents = {"pickle": pickle.dumps(Bomb(place)), "empty": b"", "text": b"weights", "cut": path.read_bytes()[:-200]}
    for name, content in contents.items():
        other = tmp_path / f"{name}{path.suffix}"
        other.write_bytes(content)
        with pytest.raises(UserError, match=rf"{backend} cannot open its ffn:100, .*{name}") as refusal:
            viewer.look(record, other, images)
        assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="gone"):
        viewer.look(record, tmp_path / f"gone{path.suffix}", images)
    assert not place.exists()
    assert viewer.look(record, path, images).probabilities.shape == (1, 10), "the worker lives on"


def test_a_file_of_another_network_is_refused(run, viewer):
    _, other = model(run, "torch", "attention_2k")
    with pytest.raises(UserError, match=r"torch cannot open its ffn:100"):
        viewer.look(model(run, "torch", "ffn:100")[0], other, data.load("digits").images[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": {"name": "custom", "place": "evil.py:net", "options": {}, "sha256": ""}}, "not run because"),
        ({"architecture": {"name": "attention_9k", "options": {}, "changed": []}}, "attention_9k.*not an architecture"),
        ({"backend": "os:system"}, "os:system.*not known"),
        ({"data_sha256": "0" * 64}, "not the one that it was trained on"),
        ({"dataset": "no_such"}, "no_such"),
    ],
    ids=["code", "architecture", "backend", "other data", "no data"],
)
def test_records_that_name_what_is_not_there_are_refused(run, viewer, change, message):
    record, path = model(run, "torch", "ffn:100")
    with pytest.raises(UserError, match=message):
        viewer.look({**record, "spec": {**record["spec"], **change}}, path, data.load("digits").images[:1])


def test_images_of_another_shape_are_refused(run, viewer):
    with pytest.raises(UserError, match=r"\(28, 28, 1\), expected \(8, 8, 1\)"):
        viewer.look(*model(run, "torch", "ffn:100"), np.zeros((1, 28, 28, 1), np.uint8))


def test_a_worker_that_dies_is_replaced(run):
    place, images = model(run, "torch", "ffn:100"), data.load("digits").images[:1]
    others = workers_of_this_process()
    with Viewer({}, None) as viewer:
        before = viewer.look(*place, images).probabilities
        (worker,) = (one for one in workers_of_this_process() if one not in others)
        worker.kill()
        with pytest.raises(UserError, match="killed"):
            viewer.look(*place, images)
        assert np.array_equal(viewer.look(*place, images).probabilities, before)


def test_keras_models_are_looked_at_likewise(tmp_path):
    grids = [{"backend": "keras", "engine": ["tensorflow", "torch"], "architecture": ["attention_2k", "ffn:9"]}]
    path = study(tmp_path, grids=grids)
    assert call("--study", path, "--results", tmp_path / "results", "--quiet").status == 0
    run, digits = Run(the_run(tmp_path / "results")), data.load("digits")
    with Viewer({}, None) as viewer:
        for record in run.records():
            (path,) = run.artefacts(record["key"]).glob("model.*")
            with np.load(run.artefacts(record["key"]) / "predictions.npz") as saved:
                index, predicted = saved["index"], saved["predicted"]
            look = viewer.look(record, path, digits.images[index])
            assert np.array_equal(look.probabilities.argmax(axis=1), predicted)
            attending = record["architecture"] == "attention_2k"
            assert list(look.attention) == (["blocks/block_0/attend", "pool"] if attending else [])
            assert viewer.kernel(record, path).shape == ((5, 5, 1, 8) if attending else (64, 9))
