"""What matched training dictates: initial weights, batch orders and learning rates, drawn once in NumPy for everyone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from backends.base import Array, Backend, Epoch, Network, Weights, WeightSpec
from common.seeding import generator
from config import Training


def build(backend: Backend, network: Network, seed: int) -> Weights:
    """Build a network and give it its initial weights, which are returned: drawn here, or in the native protocol its own."""
    backend.build(network)
    if network.native:
        initial = backend.get_weights()
    else:
        specs = backend.weight_specs()
        initial = initial_weights([spec for spec in specs if spec.initializer != "own"], network, seed)
        if len(initial) < len(specs):
            initial = {**backend.get_weights(), **initial}
    backend.set_weights(initial)
    return initial


def initial_weights(specs: Sequence[WeightSpec], network: Network, seed: int) -> Weights:
    """Draw a network's initial weights, each array from a stream of its own.

    The streams depend on architecture, input shape, classes, seed and the array's name; never on the backend.

    Returns
    -------
    float64 arrays by canonical name.

    References
    ----------
    Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks";
    He et al. (2015), "Delving deep into rectifiers".
    """
    architecture = network.architecture.model_dump(mode="json")
    identity = ("weights", architecture, list(network.input_shape), network.classes, seed)
    return {spec.name: _draw(spec, generator(*identity, spec.name)) for spec in specs}


def _draw(spec: WeightSpec, rng: np.random.Generator) -> Array:
    name, _, scale = spec.initializer.partition(":")
    receptive = math.prod(spec.shape[:-2])
    fan_in = receptive * spec.shape[-2] if len(spec.shape) > 1 else 1
    fan_out = receptive * spec.shape[-1]
    if name == "glorot_uniform":
        bound = math.sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-bound, bound, spec.shape)
    if name == "he_normal":
        return rng.normal(0, math.sqrt(2 / fan_in), spec.shape)
    if name == "normal":
        return rng.normal(0, float(scale), spec.shape)
    return {"zeros": np.zeros, "ones": np.ones}[name](spec.shape)


def epochs(training: Training, rows: int, seed: int) -> Iterator[Epoch]:
    """Yield each epoch's batch order and learning rates; orders depend on rows, batch size and seed alone."""
    rates = learning_rates(training, rows).reshape(training.epochs, -1)
    for number, epoch_rates in enumerate(rates):
        order = generator("batches", rows, training.batch_size, seed, number).permutation(rows)
        yield Epoch(order, epoch_rates)


def learning_rates(training: Training, rows: int) -> Array:
    """Return the learning rate of every step of a training on `rows` rows, (epochs * steps,) float64."""
    steps = math.ceil(rows / training.batch_size)
    total = training.epochs * steps
    progress = np.arange(total) / total
    if training.schedule == "step":
        factors = 0.1 ** (np.arange(total) // steps // 7)
    elif training.schedule == "cosine":
        factors = 0.5 * (1 + np.cos(np.pi * progress))
    elif training.schedule == "one_cycle":
        # Smith and Topin (2019), with a linear rise from 1/25 of the peak as PyTorch's OneCycleLR has it
        rise = 0.04 + 0.96 * progress / 0.3
        fall = 0.5 * (1 + np.cos(np.pi * (progress - 0.3) / 0.7))
        factors = np.where(progress < 0.3, rise, fall)
    else:
        factors = np.ones(total)
    return np.asarray(training.learning_rate * factors, dtype=np.float64)
