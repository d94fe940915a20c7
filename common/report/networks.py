"""Pictures of trained networks: what the first layer has learned, and where attention looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from common.data import Dataset
from common.report.choice import Chosen, best
from common.report.drawing import figure
from common.report.pictures import BEST, Missing, Picture, show
from common.viewing import Look, Viewer
from config import UserError

if TYPE_CHECKING:
    from common.results import Results

UNITS = 16
"""Neurons or filters shown of a first layer."""


def networks(
    results: Results, chosen: Sequence[Chosen], dataset: Dataset, data_dir: str | None
) -> Iterator[Picture | Missing]:
    """Yield what can be seen of the run's trained networks; their models are opened in processes of their own."""
    with Viewer({}, data_dir) as viewer:
        yield from _kernels(viewer, results, chosen, dataset)
        for one in best(results, lambda name: name.startswith("attention_")):
            yield from _attention(viewer, results, one, dataset)


def _kernels(
    viewer: Viewer, results: Results, chosen: Sequence[Chosen], dataset: Dataset
) -> Iterator[Picture | Missing]:
    def kernel(one: Chosen) -> np.ndarray | UserError | None:
        model = results.model(one.records[0]["key"])
        try:
            return None if model is None else viewer.kernel(one.records[0], model)
        except UserError as error:
            return error

    with ThreadPoolExecutor() as threads:  # frameworks take seconds to import, each in its process
        found = dict(zip((one.name for one in chosen), threads.map(kernel, chosen), strict=True))
    for name, error in found.items():
        if isinstance(error, UserError):
            yield Missing(f"The first layer of {name} is left out: {error}")
    kernels = {name: array for name, array in found.items() if isinstance(array, np.ndarray)}
    if kernels:
        text = f"weights of the first {UNITS} neurons or filters, blue below zero, red above; first seed; {BEST}."
        yield Picture("first-layer", "what the first layer has learned", text, lambda: first_layers(kernels, dataset))


def _attention(viewer: Viewer, results: Results, one: Chosen, dataset: Dataset) -> Iterator[Picture | Missing]:
    model, answers = results.model(one.records[0]["key"]), results.predictions(one.records[0]["key"])
    if model is None or answers is None:
        return
    first = [np.flatnonzero(answers["label"] == label)[:1] for label in range(dataset.n_classes)]
    images = dataset.images[answers["index"][np.concatenate(first)]]
    try:
        look = viewer.look(one.records[0], model, images)
    except UserError as error:
        yield Missing(f"The attention of {one.name} is left out: {error}")
        return
    if look.attention:
        text = ("share of attention that each position gets, mean over heads and queries, brighter is more; a test image of each "
                "class; first seed; the best attention network by validation accuracy.")  # fmt: skip
        name = f"attention-{one.backend.replace('/', '-')}"
        yield Picture(
            name, f"where {one.name} looks", text, lambda: attention(look, images / dataset.max_value, dataset)
        )


def first_layers(kernels: Mapping[str, np.ndarray], dataset: Dataset) -> Figure:
    """Draw, a row a network, the weights of its first layer as images."""
    drawn = figure(0.62 * UNITS + 1.2, 0.9 * len(kernels) + 0.6)
    grid = drawn.subplots(len(kernels), UNITS, squeeze=False)
    for (name, kernel), line in zip(kernels.items(), grid, strict=True):
        images = _images(kernel, dataset)
        reach = float(np.abs(images).max()) or 1.0
        for place, axes in enumerate(line):
            axes.set_axis_off()
            if place < len(images):
                axes.imshow(images[place], cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
        line[0].text(-0.2, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
    return drawn


def _images(kernel: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return a kernel's weights as (units, height, width): mean over colors, or of a filter's inputs."""
    if kernel.ndim == 4:
        filters: np.ndarray = np.moveaxis(kernel.mean(axis=2), 2, 0)[:UNITS]
        return filters
    inputs, units = kernel.shape
    channels = dataset.images.shape[3]
    side = round((inputs / channels) ** 0.5)
    shape = (side, side, channels) if side * side * channels == inputs else (1, inputs, 1)
    images: np.ndarray = np.moveaxis(kernel.reshape(*shape, units).mean(axis=2), 2, 0)[:UNITS]
    return images


def attention(look: Look, images: np.ndarray, dataset: Dataset) -> Figure:
    """Draw sample images, and over them, a row an attention layer, where it looks."""
    names = list(look.attention)
    drawn = figure(0.8 * len(images) + 1.2, 0.95 * (1 + len(names)) + 0.6)
    grid = drawn.subplots(1 + len(names), len(images), squeeze=False)
    for place, image in enumerate(images):
        answer = dataset.class_names[int(look.probabilities[place].argmax())]
        show(grid[0][place], image, f"answer {answer}")
        for at, name in enumerate(names):
            axes = grid[1 + at][place]
            height, width = image.shape[:2]
            axes.imshow(image.mean(axis=2), cmap="gray_r", alpha=0.35, extent=(0, width, height, 0))
            axes.imshow(look.attention[name][place], cmap="inferno", alpha=0.75, extent=(0, width, height, 0), vmin=0)
            axes.set_axis_off()
    for line, name in zip(grid, ["", *names], strict=True):
        line[0].text(-0.2, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
    return drawn
