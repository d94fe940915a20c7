"""The fast network: its fixed filters, and that it runs on images of any size."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from backends.models import catalog, cosines  # noqa: E402
from backends.models.torch_fast import build  # noqa: E402


@pytest.mark.parametrize(("size", "count"), [(5, 8), (4, 16), (7, 1)])
def test_filters_are_at_right_angles_and_their_negatives_follow(size, count):
    filters = cosines.filters(size, count).reshape(size**2, 2 * count)
    assert np.allclose(filters[:, :count].T @ filters[:, :count], np.eye(count), atol=1e-6)
    assert np.array_equal(filters[:, count:], -filters[:, :count])
    assert np.allclose(filters[:, 0], 1 / size, atol=1e-6)  # the smoothest of all


def test_more_filters_than_there_are_is_said():
    with pytest.raises(ValueError, match="17 of 4x4 pixels; there are 1 to 16"):
        cosines.filters(4, 17)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (9, 13, 2), (31, 17, 1)], ids=str)
def test_images_of_any_size_become_logits(shape):
    model = build("fast_cnn", catalog()["fast_cnn"].options, shape, 7)
    assert model(torch.rand(3, shape[2], *shape[:2])).shape == (3, 7)


def test_the_fixed_filters_are_no_parameters_and_in_no_checkpoint():
    model = build("fast_cnn", catalog()["fast_cnn"].options, (28, 28, 1), 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 214_858
    assert not [name for name in model.state_dict() if name.startswith("stem")]
