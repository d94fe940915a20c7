"""The published lightweight networks: their sizes, and which of their parameters never learn."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from backends.models import catalog  # noqa: E402
from backends.models.torch_lightweight import LightweightAdaptive, LightweightConv, LightweightNetwork, build  # noqa: E402

PUBLISHED = {
    "lightweight_basic": 344_154,
    "lightweight_conv": 316_715,
    "lightweight_adaptive": 958_030,
    "lightweight_no_attention": 109_386,
}


def network(name: str, shape: tuple[int, ...] = (28, 28, 1), classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return build(name, catalog()[name].options, shape, classes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_trainable_parameters_are_the_published(name):
    assert sum(parameter.numel() for parameter in network(name).parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3)], ids=str)
@pytest.mark.parametrize("name", PUBLISHED)
def test_other_images_become_logits(name, shape):
    assert network(name, shape, 7)(torch.rand(3, shape[2], *shape[:2])).shape == (3, 7)


@pytest.mark.parametrize("name", PUBLISHED)
def test_query_and_key_alone_get_no_gradient(name):
    model = network(name)
    nn.functional.cross_entropy(model(torch.rand(16, 1, 28, 28)), torch.arange(16) % 10).backward()
    dead = {path for path, parameter in model.named_parameters() if not parameter.grad.any()}
    scores = {path for path, _ in model.named_parameters() if ".query." in path or ".key." in path}
    assert dead == scores
    assert bool(scores) == (name != "lightweight_no_attention")


def test_attention_to_one_position_is_a_dense_layer_beside_the_input():
    attention, x = LightweightNetwork().features.attention_0, torch.randn(5, 784)
    assert torch.allclose(attention(x), x + attention.output(attention.value(x)), atol=1e-5)


def test_the_router_weighs_the_experts_of_an_image():
    model, images = LightweightAdaptive(), torch.rand(4, 1, 28, 28)
    nn.init.zeros_(model.router.weights.weight)
    with torch.no_grad():
        model.router.weights.bias.copy_(torch.tensor([math.log(7.0), 0, 0, 0]))
        answers = torch.stack([expert(images.flatten(1)) for expert in model.experts])
        mixed = 0.7 * answers[0] + 0.1 * answers[1:].sum(dim=0)
        assert torch.allclose(model(images), model.logits(mixed), atol=1e-5)


def test_the_map_of_positions_scales_what_is_behind_it():
    model, images = LightweightConv().eval(), torch.rand(4, 1, 28, 28)
    nn.init.constant_(model.map.bias, -50.0)
    dark = model(images)
    assert torch.allclose(dark, model(torch.rand(4, 1, 28, 28)), atol=1e-4), "a map of zeros hides the image"
