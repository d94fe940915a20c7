"""Keras's idiomatic loop: compile and fit, as its guide "Training and evaluation with the built-in methods" shows."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from backends.base import Array, Epoch, EpochEnd
from config import Training


def compiled(model: keras.Model, optimizer: keras.Optimizer, penalty: float) -> keras.Model:
    """Return a model around `model` that is ready for fit, and leave `model` itself without an optimizer to save.

    Parameters
    ----------
    penalty : what the loss adds for each squared entry of a kernel.
    """
    for variable in model.trainable_variables:
        if penalty and variable.path.endswith("kernel"):
            variable.regularizer = keras.regularizers.L2(penalty)
    whole = keras.Sequential([model])
    whole.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return whole


class _Follow(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Takes the learning rates of the harness's epochs, tells it of each one's end, and ends where it says so."""

    def __init__(self, epochs: Iterable[Epoch], on_epoch_end: EpochEnd) -> None:
        super().__init__()
        self._epochs, self._told = iter(epochs), on_epoch_end
        self.epoch: Epoch | None = next(self._epochs)

    def on_epoch_begin(self, *_: object) -> None:
        assert self.epoch is not None
        self.model.optimizer.learning_rate = float(self.epoch.learning_rates[0])

    def on_epoch_end(self, _: int, logs: dict[str, float]) -> None:
        self.epoch = None if self._told(logs["loss"]) else next(self._epochs, None)
        self.model.stop_training = self.epoch is None


def fit_by_itself(
    whole: keras.Model,
    inputs: Array,
    targets: Array,
    training: Training,
    epochs: Iterable[Epoch],
    on_epoch_end: EpochEnd,
) -> None:
    """Train with one call of fit, which shuffles for itself; arguments as :meth:`backends.base.Backend.fit` has them.

    Parameters
    ----------
    whole : what :func:`compiled` returned.
    """
    follow = _Follow(epochs, on_epoch_end)
    assert follow.epoch is not None
    rows = len(follow.epoch.order)
    whole.fit(
        inputs[:rows],
        targets[:rows],
        batch_size=training.batch_size,
        epochs=training.epochs,
        callbacks=[follow],
        verbose=0,
    )
