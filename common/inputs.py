"""A trial's inputs: which rows it trains, validates and tests on, and how the network sees them."""

from __future__ import annotations

from dataclasses import dataclass

from backends.base import Array
from common.data import Dataset
from common.features import FeaturePipeline
from common.splits import Split, split
from config import Trial, number_format


@dataclass(frozen=True)
class TrialData:
    """A trial's data by part (``train``, ``validation`` and, except in a search, ``test``).

    Attributes
    ----------
    inputs : (rows, *input_shape) arrays of the numbers that the trial's precision keeps.
    labels : (rows,) int64 arrays.
    indices : the rows of each part in the pooled data set.
    pipeline : what made inputs of the images, fitted on the training rows.
    """

    inputs: dict[str, Array]
    labels: dict[str, Array]
    indices: Split
    pipeline: FeaturePipeline


def cut(trial: Trial, dataset: Dataset) -> Split:
    """Return the rows of each part; the same for every backend, architecture and training.

    Raises
    ------
    UserError
        Where the data cannot be cut that way.
    """
    return split(
        dataset.labels,
        official_train=dataset.official_train,
        data_hash=dataset.sha256,
        train_share=None if trial.train_share == "official" else trial.train_share,
        seed=trial.seed if trial.split_seed is None else trial.split_seed,
        validation=trial.training.validation,
        rows=trial.rows,
    )


def input_shape(trial: Trial, dataset: Dataset, train_rows: int) -> tuple[int, ...]:
    """Return the shape of one input as the network sees it.

    Raises
    ------
    UserError
        Where the features do not fit the images.
    """
    return pipeline_of(trial, dataset).output_shape(dataset.image_shape, train_rows)


def load_inputs(trial: Trial, dataset: Dataset) -> TrialData:
    """Split the pooled data and compute each part's inputs, everything fitted on training rows alone."""
    indices = cut(trial, dataset)
    parts = {"train": indices.train, "validation": indices.validation}
    if trial.scored_on is None:
        parts["test"] = indices.test
    pipeline = pipeline_of(trial, dataset).fit(dataset.images[indices.train])
    return TrialData(
        inputs={
            name: pipeline.transform(dataset.images[rows]).astype(number_format(trial.precision), copy=False)
            for name, rows in parts.items()
        },
        labels={name: dataset.labels[rows] for name, rows in parts.items()},
        indices=indices,
        pipeline=pipeline,
    )


def pipeline_of(trial: Trial, dataset: Dataset) -> FeaturePipeline:
    """Return what makes inputs of a trial's images, not fitted yet."""
    features = trial.features
    return FeaturePipeline(features.scaling, features.input_size, features.pca, dataset.max_value)
