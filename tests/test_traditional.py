"""The full-size networks: their published sizes, in both frameworks, on images of several sizes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from backends.models import catalog  # noqa: E402
from backends.models.torch_traditional import TraditionalCNN, TraditionalResNet, build  # noqa: E402

PUBLISHED = {"mlp": 535_818, "cnn": 390_410, "resnet": 174_970}


@pytest.mark.parametrize("name", PUBLISHED)
def test_trainable_parameters_are_the_published(name):
    model = build(name, catalog()[name].options, (28, 28, 1), 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (9, 13, 2)], ids=str)
@pytest.mark.parametrize("name", PUBLISHED)
def test_images_of_any_size_become_logits(name, shape):
    model = build(name, catalog()[name].options, shape, 7)
    assert model(torch.rand(3, shape[2], *shape[:2])).shape == (3, 7)


def test_the_classes_alone_are_the_published_networks():
    for model in (TraditionalCNN(), TraditionalResNet()):
        assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_dropout_is_before_the_head_and_in_training_alone():
    model = TraditionalCNN(dropout=0.5)
    images = torch.rand(4, 1, 28, 28)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
