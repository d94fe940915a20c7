"""FrameworkClassifier as users of scikit-learn take it: its own checks, searches, pipelines, and every backend alike.

Keras runs on PyTorch here, where it compiles nothing; ``python -m tests.test_estimator ENGINE`` is the process in which
an engine has scikit-learn's checks to itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from threadpoolctl import threadpool_info

from common.estimator import FrameworkClassifier

ROOT = Path(__file__).parent.parent
BACKENDS: dict[str, dict[str, Any]] = {
    "sklearn": {"backend": "sklearn"},
    "torch": {"backend": "torch"},
    "keras": {"backend": "keras", "engine": "torch"},
}
SMALL: dict[str, Any] = {"architecture": "ffn:8", "epochs": 10, "batch_size": 64, "learning_rate": 0.05}
DIGITS: dict[str, Any] = {"architecture": "ffn:32", "epochs": 8, "learning_rate": 0.005, "random_state": 0}
ALIKE: dict[str, Any] = {"epochs": 4, "learning_rate": 0.01, "precision": "float64", "random_state": 3}
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"epochs": 0}, "epochs: found 0; "),
    "batch_size": ({"batch_size": 2.5}, "batch_size: found 2.5; "),
    "optimizer": ({"optimizer": "adm"}, "optimizer: found 'adm'; .* did you mean 'adam'"),
    "learning_rate": ({"learning_rate": -1}, "learning_rate: found -1; "),
    "weight_decay": ({"weight_decay": 0.1}, "weight_decay is adamw's"),
    "early_stopping_patience": ({"early_stopping_patience": 0}, "early_stopping_patience: found 0; "),
    "validation": ({"early_stopping_patience": 1, "validation": 0.001}, "validation: 0.001 of 200 rows cannot be held"),
    "backend": ({"backend": "pytorch"}, "backend: 'pytorch' is not known; did you mean 'torch'?"),
    "engine": ({"engine": "jax"}, "engine: 'jax' does not go with backend torch"),
    "architecture": ({"architecture": "fnn:8"}, "architecture: 'fnn:8'"),
    "sizes": ({"architecture": "cnn"}, "architecture: cnn takes images, and X has 30 features"),
    "random_state": ({"random_state": -1}, "random_state: found -1; "),
    "random_state's kind": ({"random_state": "zero"}, "random_state: found 'zero'; give an int"),
    "precision": ({"precision": "float16"}, "precision: found 'float16'"),
    "what a backend has not": (
        {"backend": "sklearn", "architecture": {"name": "ffn:8", "dropout": 0.2}},
        "backend: 'sklearn' cannot train this: MLPClassifier has no dropout",
    ),
    "divergence": ({"optimizer": "sgd", "learning_rate": 1000.0}, "learning_rate: 1000.0 is too high here"),
}


@pytest.fixture(autouse=True, scope="module")
def environment():
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = load_digits(return_X_y=True)
    return inputs[:600] / 16, labels[:600]


@pytest.fixture(scope="module")
def tumors() -> tuple[np.ndarray, np.ndarray]:
    data = load_breast_cancer()
    return StandardScaler().fit_transform(data.data)[:200], data.target_names[data.target[:200]]


def classifier(name: str, **parameters: Any) -> FrameworkClassifier:
    return FrameworkClassifier(**{**BACKENDS[name], **parameters})


@parametrize_with_checks([classifier(name, **SMALL) for name in BACKENDS])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.slow  # TensorFlow and JAX compile every fit
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", ["tensorflow", "torch", "jax"])
def test_scikit_learns_own_checks_on_every_engine(engine):
    command = [sys.executable, "-m", "tests.test_estimator", engine]
    variables = {**os.environ, "SCIPY_ARRAY_API": "1"}  # else the checks of other libraries' arrays are left out
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert len(outcomes) > 50 and {outcome for _, outcome in outcomes} == {"passed"}, outcomes


@pytest.mark.parametrize("name", BACKENDS)
def test_a_pipeline_is_cross_validated_and_searched(name, digits):
    pipeline = make_pipeline(StandardScaler(), classifier(name, **DIGITS))
    scores = cross_val_score(pipeline, *digits, cv=3)
    assert scores.min() > 0.75
    grid = {"frameworkclassifier__learning_rate": np.array([1e-6, 0.005]), "frameworkclassifier__epochs": np.array([8])}
    search = GridSearchCV(pipeline, grid, cv=2).fit(*digits)
    assert search.best_params_["frameworkclassifier__learning_rate"] == 0.005
    assert search.cv_results_["mean_test_score"][0] < 0.5 and search.score(*digits) > 0.9


def test_a_search_goes_over_backends_and_architectures_in_processes(digits):
    grid = {"backend": ["sklearn", "torch"], "architecture": ["ffn:8", {"name": "ffn:16", "activations": "tanh"}]}
    search = GridSearchCV(FrameworkClassifier(epochs=2, random_state=0), grid, cv=2, n_jobs=2, error_score="raise")
    scores = search.fit(*digits).cv_results_["mean_test_score"].reshape(2, 2)
    np.testing.assert_allclose(scores[:, 0], scores[:, 1], atol=0.02)  # the same networks, but for float32's rounding


@pytest.mark.parametrize("name", BACKENDS)
def test_equal_random_states_give_equal_predictions_and_others_others(name, digits):
    model = classifier(name, **{**DIGITS, "epochs": 2})
    first = model.fit(*digits).predict_proba(digits[0])
    assert np.array_equal(clone(model).fit(*digits).predict_proba(digits[0]), first)
    again = clone(model).set_params(random_state=np.random.RandomState(7)).fit(*digits).predict_proba(digits[0])
    assert not np.allclose(again, first)
    equal = clone(model).set_params(random_state=np.random.RandomState(7)).fit(*digits).predict_proba(digits[0])
    assert np.array_equal(equal, again)
    drawn = [clone(model).set_params(random_state=None).fit(*digits).predict_proba(digits[0]) for _ in range(2)]
    assert not np.allclose(*drawn)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping_patience": 1, "validation": 0.2, "l2": 0.01}])
@pytest.mark.parametrize("data", ["digits", "tumors"])
def test_every_backend_trains_the_same_network(data, parameters, request):
    rows, labels = request.getfixturevalue(data)
    models = {name: classifier(name, **ALIKE, **parameters).fit(rows, labels) for name in BACKENDS}
    torch = models.pop("torch")
    assert torch.score(rows, labels) > 0.85
    for name, model in models.items():
        assert np.array_equal(model.predict(rows), torch.predict(rows)), name
        np.testing.assert_allclose(model.predict_proba(rows), torch.predict_proba(rows), atol=1e-9, err_msg=name)
        assert {key: array.shape for key, array in model.weights_.items()} == {
            key: array.shape for key, array in torch.weights_.items()
        }
        for figure, values in torch.history_.items():
            np.testing.assert_allclose(model.history_[figure], values, atol=1e-9, err_msg=f"{name} {figure}")


def test_it_trains_as_a_trial_does(tmp_path):
    import backends
    from backends.base import Runtime
    from common import data
    from common.inputs import load_inputs
    from common.trial import run_trial
    from config import Training, Trial, parse_architecture

    training = Training(epochs=3, early_stopping_patience=None)
    architecture = {**parse_architecture("ffn:16"), "name": "ffn"}
    trial = Trial(backend="torch", architecture=architecture, dataset="digits", seed=5, training=training)
    dataset = data.load("digits")
    parts, backend = load_inputs(trial, dataset), backends.load("torch")(Runtime(threads=None))
    backend.start()
    record = run_trial(trial, backend, dataset, tmp_path, fresh=False)
    trained = backend.get_weights()
    backend.stop()
    assert record["status"] == "ok", record["error"]
    model = FrameworkClassifier(architecture="ffn:16", epochs=3, random_state=5)
    model.fit(parts.inputs["train"], parts.labels["train"])  # images: (rows, 8, 8, 1)
    assert all(np.array_equal(model.weights_[name], array) for name, array in trained.items())


def test_early_stopping_ends_with_the_best_epochs_weights(digits):
    model = classifier("torch", **{**DIGITS, "epochs": 200, "learning_rate": 0.05, "early_stopping_patience": 3})
    model.fit(*digits)
    losses = model.history_["val_log_loss"]
    assert model.n_iter_ == len(losses) < 200 and int(np.argmin(losses)) == model.n_iter_ - 4
    best = clone(model).set_params(epochs=int(np.argmin(losses)) + 1).fit(*digits)
    assert all(np.array_equal(best.weights_[name], array) for name, array in model.weights_.items())
    whole = clone(model).set_params(early_stopping_patience=None, epochs=2).fit(*digits)
    assert list(whole.history_) == ["train_loss"] and whole.n_iter_ == 2


@pytest.mark.parametrize("architecture", [{"name": "cnn", "width": 4}, {"name": "attention_2k"}, "ffn:16"])
def test_images_and_rows_of_pixels_are_the_same_to_it(architecture, digits):
    rows, labels = digits
    images, channels = rows.reshape(-1, 8, 8), rows.reshape(-1, 8, 8, 1)
    model = FrameworkClassifier(architecture=architecture, epochs=2, random_state=0).fit(images, labels)
    assert model.n_features_in_ == 64
    expected = model.predict_proba(images)
    assert np.array_equal(model.predict_proba(channels), expected)
    assert np.array_equal(model.predict_proba(rows), expected)
    with pytest.raises(ValueError, match=r"X: found images of \(4, 16, 1\)"):
        model.predict(rows.reshape(-1, 4, 16))
    with pytest.raises(ValueError, match="expecting 64 features"):
        model.predict(rows[:, 1:])
    if architecture != "ffn:16":
        assert np.array_equal(clone(model).fit(rows, labels).predict_proba(rows), expected)


def test_labels_of_any_kind_and_columns_names_are_kept(tumors):
    import pandas as pd

    frame = pd.DataFrame(tumors[0], columns=[f"f{number}" for number in range(30)])
    model = classifier("sklearn", **SMALL).fit(frame, tumors[1])
    assert set(model.predict(frame)) == {"benign", "malignant"} and list(model.classes_) == ["benign", "malignant"]
    assert list(model.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_field(case, tumors):
    parameters, message = MISTAKES[case]
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        FrameworkClassifier(**{**SMALL, **parameters}).fit(*tumors)
    assert "\n" not in str(caught.value)


def test_keras_keeps_the_engine_it_was_imported_with(tumors):
    model = classifier("keras", **SMALL).fit(*tumors)
    with pytest.raises(ValueError, match=r"^engine: 'jax' was asked for, and Keras already runs on 'torch'"):
        clone(model).set_params(engine="jax").fit(*tumors)
    assert model.score(*tumors) > 0.9


@pytest.mark.parametrize("name", BACKENDS)
def test_a_fitted_one_predicts_after_others_were_fitted_and_in_another_process(name, tumors, tmp_path):
    model = classifier(name, **SMALL, random_state=0).fit(*tumors)
    expected = model.predict_proba(tumors[0])
    clone(model).set_params(architecture="ffn:4").fit(*tumors)
    model.set_params(architecture="ffn:2", precision="float64")  # of the next fit, not of the last
    assert np.array_equal(model.predict_proba(tumors[0]), expected)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "rows.npy", tumors[0])
    script = f"""
import pickle, numpy as np
from pathlib import Path
folder = Path({str(tmp_path)!r})
model = pickle.loads((folder / "model.pickle").read_bytes())
np.save(folder / "found.npy", model.predict_proba(np.load(folder / "rows.npy")))
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-6)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_process_is_given_back_as_it_was(name, tumors):
    import torch

    def state() -> list[Any]:
        threads = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
        numbers = [float(np.float32(1.5e-38) * np.float32(0.5)), torch.get_default_dtype(), torch.get_num_threads()]
        draws = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
        return [threads, numbers, draws]

    model = classifier(name, **SMALL, random_state=0)
    model.fit(*tumors)  # imports what it needs
    torch.set_flush_denormal(False)
    torch.manual_seed(123)
    random.seed(123)
    before = state()
    model.fit(*tumors).predict(tumors[0])
    assert state() == before
    with contextlib.suppress(ValueError):
        clone(model).set_params(device="cuda").fit(*tumors)
    assert state() == before


@pytest.mark.parametrize("name", BACKENDS)
def test_nothing_is_warned_of_arrays_that_cannot_be_written_to(name, tumors):
    rows, labels = tumors[0].astype(np.float32), tumors[1].copy()
    rows.flags.writeable = labels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert classifier(name, **SMALL).fit(rows, labels).score(rows, labels) > 0.9


def test_threads_take_turns(tumors):
    from joblib import Parallel, delayed

    model = classifier("torch", **SMALL, random_state=0)
    expected = model.fit(*tumors).predict_proba(tumors[0])
    tasks = [delayed(lambda: clone(model).fit(*tumors).predict_proba(tumors[0]))() for _ in range(4)]
    found = Parallel(n_jobs=4, backend="threading")(tasks)
    assert all(np.array_equal(one, expected) for one in found)


def test_a_network_of_ones_own(tumors, tmp_path):
    (tmp_path / "own.py").write_text(
        "def net(input_shape, classes, width=4):\n"
        "    from torch import nn\n"
        "    return nn.Sequential(nn.Linear(*input_shape, width), nn.ReLU(), nn.Linear(width, classes))\n"
        "def forest():\n"
        "    from sklearn.ensemble import RandomForestClassifier\n"
        "    return RandomForestClassifier(5)\n"
    )
    own = {"name": f"{tmp_path / 'own.py'}:net", "width": 6}
    model = FrameworkClassifier(**{**SMALL, "architecture": own}).fit(*tumors)
    assert model.score(*tumors) > 0.9 and model.weights_["0/weight"].shape == (6, 30)
    with pytest.raises(ValueError, match=r"^architecture: .*forest has no weights; use the classifier as it is"):
        FrameworkClassifier("sklearn", architecture=f"{tmp_path / 'own.py'}:forest").fit(*tumors)


def test_the_native_protocol_leaves_two_classes_to_each_framework(tumors):
    native = {"protocol": "native", "random_state": 0}
    models = {name: classifier(name, **SMALL, **native).fit(*tumors) for name in BACKENDS}
    assert {name: model.weights_["logits/kernel"].shape[1] for name, model in models.items()} == {
        "sklearn": 1, "torch": 2, "keras": 2,
    }  # fmt: skip
    assert all(model.predict_proba(tumors[0]).shape == (200, 2) for model in models.values())
    assert all(model.score(*tumors) > 0.9 for model in models.values())


def test_importing_it_imports_no_framework():
    script = "import sys, common.estimator; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert not imported & {"torch", "keras", "tensorflow", "jax", "sklearn.neural_network"}


def test_held_out_rows_choose_and_are_not_trained_on(digits):
    rows, test, labels, _ = train_test_split(*digits, random_state=0)
    model = classifier("torch", **{**DIGITS, "early_stopping_patience": 2, "validation": 0.5}).fit(rows, labels)
    half = classifier("torch", **DIGITS).fit(rows, labels)
    assert len(model.history_["val_accuracy"]) == model.n_iter_
    assert not np.allclose(model.predict_proba(test), half.predict_proba(test))


if __name__ == "__main__":
    found = check_estimator(FrameworkClassifier("keras", sys.argv[1], **SMALL), on_skip=None, on_fail=None)
    print(json.dumps([[check["check_name"], f"{check['exception'] or check['status']}"] for check in found]))
