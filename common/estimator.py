"""Any backend as a scikit-learn estimator, in the user's own process, trained as the harness trains it.

It drives a backend with the harness's weights, batch orders and stopping rule, and so stands beside
:mod:`common.trial`: a backend itself never seeds or splits. Importing this module imports no framework.
"""

from __future__ import annotations

import math
import numbers
import os
import re
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

import backends
from backends.base import Array, Backend, Diverged, Network, Runtime, Unsupported, Weights, needs
from common import initial
from common.course import Course, validated
from common.seeding import generator
from common.trial import network_of
from config import Registered, Trial, UserError, expand, number_format

_FIELDS = ("backend", "engine", "architecture", "protocol", "precision", "device")
_TRAINING = (
    *("epochs", "batch_size", "optimizer", "learning_rate", "schedule", "momentum", "l2", "weight_decay"),
    *("early_stopping_patience", "validation"),
)
"""The parameters that are fields of a trial, and of its training."""


@dataclass(frozen=True, eq=False)
class _Trained:
    """What a fit leaves: a network, where it computes and its weights; parameters set afterwards do not change it."""

    backend: str
    runtime: Runtime
    network: Network
    weights: Weights


_LOCK = threading.RLock()
_BUILT: weakref.WeakKeyDictionary[_Trained, Backend] = weakref.WeakKeyDictionary()
"""The network built last, ready to predict. Only one: what frameworks set for the whole process is for one network."""


class FrameworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A neural network of any backend and engine as a scikit-learn classifier.

    With the same `random_state`, every backend starts from the same weights, takes the same batches in the same order
    and computes the same optimizer's arithmetic (``protocol="matched"``).

    Parameters
    ----------
    backend : {"sklearn", "keras", "torch"}, or the name of a backend of your own
    engine : Keras's: ``"tensorflow"``, the default, ``"torch"`` or ``"jax"``. A process has one, that of the first fit.
    architecture : as ``compare.py --arch`` takes it (``"ffn:128-64"``, ``"cnn"``, ``"my_networks.py:make_net"``), or a
        mapping with options (``{"name": "cnn", "width": 16}``).
    epochs, batch_size, optimizer, learning_rate, schedule, momentum, l2, weight_decay : as
        :class:`config.Training` has them.
    early_stopping_patience : epochs without a better validation log loss after which training ends and the best
        epoch's weights come back. None, the default, trains all epochs, on all rows.
    validation : share of the rows, by class, that early stopping holds out.
    protocol : ``"matched"``, the same arithmetic everywhere, or ``"native"``, each framework's own conventions.
    precision : ``"float32"``, ``"float64"``, or ``"bfloat16"`` (of products alone).
    device : ``"cpu"``, ``"cuda"`` or ``"auto"``. Keras's is that of the process: ``"cpu"`` hides its GPUs.
    random_state : int, RandomState instance or None
        Of initial weights, batch orders, dropout and the rows held out. An int is the seed that ``compare.py`` would
        give a trial.

    Attributes
    ----------
    classes_ : (classes,) array of the labels, sorted.
    n_features_in_ : features of a row; of images, height * width * channels.
    feature_names_in_ : names of the columns, where X had them.
    weights_ : the network's arrays by name (``hidden_0/kernel``, in Keras's layout), trained.
    history_ : by name, a value an epoch: ``train_loss``; with early stopping ``val_accuracy`` and ``val_log_loss``.
    n_iter_ : epochs trained.

    Notes
    -----
    Threads are those that the process gives its libraries (``OMP_NUM_THREADS``, threadpoolctl); with another number of
    them, sums are rounded otherwise. What a fit sets for the whole process, it puts back, but for environment variables
    such as ``KERAS_BACKEND``, which a framework reads when it is imported or first finds its devices.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import cross_val_score
    >>> X, y = load_digits(return_X_y=True)
    >>> cross_val_score(FrameworkClassifier(backend="torch", epochs=10, random_state=0), X / 16, y)  # doctest: +SKIP
    """

    def __init__(
        self,
        backend: str = "torch",
        engine: str | None = None,
        architecture: Any = "ffn:64",
        epochs: int = 50,
        batch_size: int = 32,
        optimizer: str = "adam",
        learning_rate: float = 0.001,
        schedule: str = "constant",
        momentum: float = 0.0,
        l2: float = 0.0,
        weight_decay: float = 0.0,
        early_stopping_patience: int | None = None,
        validation: float = 0.1,
        protocol: str = "matched",
        precision: str = "float32",
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.backend = backend
        self.engine = engine
        self.architecture = architecture
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.momentum = momentum
        self.l2 = l2
        self.weight_decay = weight_decay
        self.early_stopping_patience = early_stopping_patience
        self.validation = validation
        self.protocol = protocol
        self.precision = precision
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train a new network.

        Parameters
        ----------
        X : (rows, features), or images (rows, height, width) or (rows, height, width, channels)
            Convolution and attention make images of rows with a square number of features.
        y : (rows,) labels of any kind.

        Raises
        ------
        ValueError
            Where a parameter is wrong or the backend cannot express it, naming it; where the data is unfit, or the
            training diverges.
        """
        trial = self._trial()
        images = _image_shape(X)
        rows, y = validate_data(self, _flat(X), y, dtype=number_format(trial.precision))
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y: found 1 class, {self.classes_[0]!r}; a classifier needs at least 2")
        shape = images or _seen_by(trial, rows.shape[1])
        kind, network = backends.load(trial.backend), network_of(trial, shape, len(self.classes_))
        if reason := kind.capability.reason_against(needs(trial, network.classes)):
            raise ValueError(f"backend: {trial.backend!r} cannot train this: {reason}")
        runtime = Runtime(trial.engine, trial.device, trial.precision, threads=None)
        with _LOCK, _at_work(kind(runtime)) as backend:
            _BUILT.clear()
            course = _train(backend, trial, network, _inputs(rows, network), labels)
            self._trained = _Trained(trial.backend, runtime, network, backend.get_weights())
            _BUILT[self._trained] = backend
        self.weights_, self.history_, self.n_iter_ = self._trained.weights, course.history, course.epoch
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return class probabilities, (rows, classes), in the order of `classes_`; X as :meth:`fit` takes it."""
        check_is_fitted(self)
        trained: _Trained = self._trained
        images, fitted = _image_shape(X), trained.network.input_shape
        if images is not None and len(fitted) == 3 and images != fitted:
            raise ValueError(f"X: found images of {images}; the network was fitted to images of {fitted}")
        rows = validate_data(self, _flat(X), dtype=number_format(trained.runtime.precision), reset=False)
        with _LOCK, _at_work(_BUILT.get(trained) or backends.load(trained.backend)(trained.runtime)) as backend:
            if trained not in _BUILT:
                _BUILT.clear()
                backend.build(trained.network)
                # copied, as they may be mapped from a file
                backend.set_weights({name: np.array(array) for name, array in trained.weights.items()})
                _BUILT[trained] = backend
            return backend.predict_proba(_inputs(rows, trained.network))

    def predict(self, X: Any) -> Array:
        """Return the likeliest label of each row, (rows,); X as :meth:`fit` takes it."""
        probabilities = self.predict_proba(X)
        labels: Array = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def _trial(self) -> Trial:
        """Return the specification of the parameters, with a seed drawn of `random_state`."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        fields |= {f"training.{name}": getattr(self, name) for name in _TRAINING}
        fields["seed"] = _seed(self.random_state)
        # strict specifications take Python's own numbers, and searches give NumPy's
        grid = {name: [value.item() if isinstance(value, np.generic) else value] for name, value in fields.items()}
        try:
            (trial,) = expand([grid], backends.vocabulary(allow_code=True))
        except UserError as error:
            named = re.sub(r"^training(\.|: )", "", str(error), flags=re.MULTILINE)
            raise ValueError(re.sub(r"^seeds", "random_state", named, flags=re.MULTILINE)) from None
        return trial


def _seed(random_state: Any) -> int:
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**32, dtype=np.uint32))
    except ValueError:
        raise ValueError(f"random_state: found {random_state!r}; give an int, a RandomState or None") from None


def _image_shape(X: Any) -> tuple[int, int, int] | None:
    """Return (height, width, channels) where X is an array of images, else None."""
    shape: tuple[int, ...] = getattr(X, "shape", ())
    return (shape[1], shape[2], shape[3] if len(shape) == 4 else 1) if len(shape) in (3, 4) else None


def _flat(X: Any) -> Any:
    shape = _image_shape(X)
    return X if shape is None else X.reshape(X.shape[0], math.prod(shape))


def _seen_by(trial: Trial, features: int) -> tuple[int, ...]:
    """Return the shape in which an architecture sees rows of so many features."""
    if not isinstance(trial.architecture, Registered):
        return (features,)
    side = math.isqrt(features)
    if side * side != features:
        raise ValueError(
            f"architecture: {trial.architecture.label} takes images, and X has {features} features, which make no "
            "square; give X as (rows, height, width, channels)"
        )
    return (side, side, 1)


def _inputs(rows: Array, network: Network) -> Array:
    # frameworks share memory with arrays, and warn of those that cannot be written to
    return np.require(rows, requirements=["C", "W"]).reshape(-1, *network.input_shape)


@contextmanager
def _at_work(backend: Backend) -> Iterator[Backend]:
    """Have a backend compute in this process, and give the process back afterwards.

    Raises
    ------
    ValueError
        What the user can mend: in place of UserError, which scikit-learn's users do not know.
    """
    os.environ.update(backend.environment(backend.runtime))  # read where the framework is imported, now or before
    try:
        backend.start()
        yield backend
    except (UserError, Unsupported) as error:
        raise ValueError(str(error)) from error
    finally:
        backend.stop()


def _train(backend: Backend, trial: Trial, network: Network, inputs: Array, labels: Array) -> Course:
    """Build and train a network as a trial's is, on the rows that are not held out; return the training's course."""
    initial.build(backend, network, trial.seed)
    if not backend.weight_specs():
        raise ValueError(f"architecture: {trial.architecture.label} has no weights; use the classifier as it is")
    course, held_out = Course.of(trial, backend), None
    if trial.training.early_stopping_patience is not None:
        train, validation = _cut(trial, labels)
        held_out = inputs[validation], labels[validation]
        inputs, labels = inputs[train], labels[train]

    def epoch_end(train_loss: float | None) -> bool:
        found = validated(backend, *held_out) if held_out else {}
        return course.epoch_end({"train_loss": train_loss, **found}, backend.get_weights)

    plan = initial.epochs(trial.training, len(labels), trial.seed)
    try:
        backend.fit(backend.prepare(inputs, labels), plan, epoch_end)
    except Diverged as error:
        rate = trial.training.learning_rate
        raise ValueError(f"learning_rate: {rate} is too high here, the training diverged: {error}") from error
    if course.best is not None:
        backend.set_weights(course.best)
    return course


def _cut(trial: Trial, labels: Array) -> tuple[Array, Array]:
    """Return the rows to train on and those held out; they depend on labels, share and seed, never on the backend."""
    from sklearn.model_selection import train_test_split

    seed, share = int(generator("validation", trial.seed).integers(2**32)), trial.training.validation
    try:
        train, held_out = train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed)
    except ValueError as error:
        raise ValueError(f"validation: {share} of {len(labels)} rows cannot be held out by class: {error}") from None
    return np.sort(train), np.sort(held_out)
