"""Pictures of data and answers: a sample of the images, confusion matrices, accuracy by class, the images got wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from common.data import Dataset
from common.report.charts import seeds
from common.report.choice import Chosen
from common.report.drawing import caption, color, figure, in_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from common.results import Results

SAMPLES = 10
"""Images a class in the sample grid."""
MOST_WRONG = 12


@dataclass(frozen=True)
class Picture:
    """A picture of a run: its file's name, its title, what the reader must know, and what draws it without that."""

    name: str
    title: str
    caption: str
    figure: Callable[[], Figure]

    def draw(self) -> Figure:
        """Return the picture with its caption below it."""
        drawn = self.figure()
        caption(drawn, self.caption)
        return drawn


@dataclass(frozen=True)
class Missing:
    """A picture that cannot be made, and why, in a sentence."""

    reason: str


BEST = "each framework's best network by validation accuracy"


def pictures(results: Results, chosen: Sequence[Chosen], dataset: Dataset | None) -> Iterator[Picture]:
    """Yield the pictures that can be drawn; those of images only where the data set is at hand."""
    answers = {one.name: found for one in chosen if (found := _answers(results, one)) is not None}
    backends = {one.name: one.backend for one in chosen}
    if dataset is not None:
        _, height, width, _ = dataset.images.shape
        text = f"the first {SAMPLES} images of each class, of {len(dataset.labels):,} of {height} x {width} pixels."
        yield Picture("samples", f"a sample of {dataset.name}", text, lambda: samples(dataset))
    if not answers:
        return
    classes = dataset.class_names if dataset is not None else _numbers(answers)
    over = seeds([one.seeds for one in answers.values()])
    text = f"percent of each class's test images, over {over}; {BEST}; the diagonal is not colored."
    yield Picture("confusion", "what is taken for what", text, lambda: confusion(answers, classes))
    text = f"over the test images of {over}; {BEST}."
    yield Picture("classes", "accuracy by class", text, lambda: by_class(answers, backends, classes))
    if dataset is not None:
        text = f"label→answer, and how many of the seeds with the image in their test part gave a wrong one; {BEST}."
        yield Picture("mistakes", "the test images got wrong most often", text, lambda: mistakes(answers, dataset))


@dataclass(frozen=True)
class Answers:
    """A network's answers on test images, of all its seeds: (rows,) each."""

    index: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    seeds: int


def _answers(results: Results, one: Chosen) -> Answers | None:
    found = [part for record in one.records if (part := results.predictions(record["key"])) is not None]
    if not found:
        return None
    parts = {name: np.concatenate([part[name] for part in found]) for name in ("index", "label", "predicted")}
    return Answers(**parts, seeds=len(found))


def _numbers(answers: dict[str, Answers]) -> tuple[str, ...]:
    return tuple(map(str, range(1 + max(int(one.label.max()) for one in answers.values()))))


def confusion(answers: dict[str, Answers], classes: Sequence[str]) -> Figure:
    """Draw, for each network, how many percent of each class's test images were taken for each class."""
    import seaborn

    across = min(3, len(answers))
    down = -(-len(answers) // across)
    drawn = figure(4.6 * across, 4.4 * down + 0.4)
    for place, (name, one) in enumerate(answers.items()):
        axes = drawn.add_subplot(down, across, place + 1)
        counts = np.zeros((len(classes), len(classes)))
        np.add.at(counts, (one.label, one.predicted), 1)
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        texts = np.where(shares >= 0.05, np.vectorize("{:.1f}".format)(shares), "")
        wrong = np.where(np.eye(len(classes), dtype=bool), np.nan, shares)
        seaborn.heatmap(wrong, annot=texts, fmt="", cmap="Blues", square=True, cbar=False, ax=axes, annot_kws={"size": 6},
                        xticklabels=classes, yticklabels=classes, linewidths=0.3, linecolor="#dddddd")  # fmt: skip
        for at in range(len(classes)):  # the diagonal, which would drown the rest in its color
            axes.text(at + 0.5, at + 0.5, f"{shares[at, at]:.1f}", ha="center", va="center", size=6, color="#404040")
        axes.set(title=in_lines(name), xlabel="predicted", ylabel="label" if place % across == 0 else "")
        axes.tick_params(labelsize=7)
    return drawn


def by_class(answers: dict[str, Answers], backends: dict[str, str], classes: Sequence[str]) -> Figure:
    """Draw each network's accuracy on each class."""
    drawn = figure()
    axes = drawn.add_subplot()
    spread = 0.6 / len(answers)
    for place, (name, one) in enumerate(answers.items()):
        right = [100 * float((one.predicted == one.label)[one.label == label].mean()) if (one.label == label).any() else np.nan
                 for label in range(len(classes))]  # fmt: skip
        at = np.arange(len(classes)) + (place - (len(answers) - 1) / 2) * spread
        axes.plot(at, right, "o", color=color(backends[name]), label=in_lines(f"{name}, n = {one.seeds}"))
    axes.set_xticks(range(len(classes)), classes, rotation=0 if max(map(len, classes)) < 3 else 30)
    axes.set(title="accuracy by class", xlabel="class", ylabel="test images answered right (%)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawn


def show(axes: Axes, image: np.ndarray, title: str = "") -> None:
    """Draw one image, (height, width, channels), without ticks."""
    axes.imshow(image[..., 0] if image.shape[2] == 1 else image, cmap="gray_r", interpolation="nearest")
    axes.set_title(title, fontsize=7)
    axes.set_axis_off()


def samples(dataset: Dataset) -> Figure:
    """Draw the first images of each class, a row a class, as one image: a hundred axes would take seconds."""
    classes, (height, width, channels) = dataset.n_classes, dataset.image_shape
    tiles = np.zeros((classes, SAMPLES, height, width, channels))
    for label in range(classes):
        rows = np.flatnonzero(dataset.labels == label)[:SAMPLES]
        tiles[label, : len(rows)] = dataset.images[rows] / dataset.max_value
    drawn = figure(0.45 * SAMPLES + 1.5, 0.45 * classes + 0.6)
    axes = drawn.add_subplot()
    show(axes, tiles.transpose(0, 2, 1, 3, 4).reshape(classes * height, SAMPLES * width, channels))
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks((np.arange(classes) + 0.5) * height, dataset.class_names)
    axes.tick_params(length=0, labelsize=7)
    axes.spines[:].set_visible(False)
    return drawn


def mistakes(answers: dict[str, Answers], dataset: Dataset) -> Figure:
    """Draw, a row a network, the test images that most of its seeds got wrong."""
    wrong = {
        name: Counter(one.index[one.predicted != one.label].tolist()).most_common() for name, one in answers.items()
    }
    across = max(1, min(MOST_WRONG, max(map(len, wrong.values()))))
    drawn = figure(0.62 * across + 1, 0.95 * len(answers) + 0.7)
    grid = drawn.subplots(len(answers), across, squeeze=False)
    for (name, found), line in zip(wrong.items(), grid, strict=True):
        one = answers[name]
        found = sorted(found, key=lambda item: (-item[1], item[0]))
        for place, axes in enumerate(line):
            axes.set_axis_off()
            if place < len(found):
                index, times = found[place]
                at = one.index == index
                said = Counter(one.predicted[at & (one.predicted != one.label)].tolist()).most_common(1)[0][0]
                label = int(one.label[at][0])
                names = dataset.class_names
                more = f"\n{times}/{int(at.sum())}" if one.seeds > 1 else ""
                show(axes, dataset.images[index] / dataset.max_value, f"{names[label]}→{names[said]}{more}")
        line[0].text(-0.2, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=7, rotation=0)
    return drawn
