"""The lightweight attention networks: their sizes, and that their attention is one."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import backends  # noqa: E402
from backends.base import Network, Runtime  # noqa: E402
from backends.models import catalog  # noqa: E402
from backends.models.attention import SCORES, Size  # noqa: E402
from backends.models.torch_attention import (  # noqa: E402
    AttentionBlock,
    AttentionPooling,
    RelativeAttention,
    SingleWeight,
    build,
)
from config import Registered, Training, UserError  # noqa: E402

OPTIONS = {**catalog()["attention_5k"].options, "scores": "both"}
FAMILY = {"attention_700": 750, "attention_2k": 2_000, "attention_5k": 5_000, "attention_10k": 10_000,
          "attention_25k": 25_000, "attention_50k": 50_000}  # fmt: skip
DIGITS, MNIST, CIFAR = (8, 8, 1), (28, 28, 1), (32, 32, 3)
POSITIONS = {DIGITS: 64, MNIST: 49, CIFAR: 64, (9, 8, 1): 20, (10, 13, 2): 35, (224, 224, 3): 49}


def sized(width: int, heads: int, grid: tuple[int, int], queries: int = 1, scores: str = "both") -> Size:
    return Size(3, 4, 4, width, heads, 1, queries, scores, 1, (1, 1), grid)


def network(shape: tuple[int, ...] = MNIST, classes: int = 10, **options: int | str) -> nn.Module:
    """Return a network whose weights are all random, so that nothing in it is switched off by a zero."""
    torch.manual_seed(0)
    model = build("attention_5k", {**OPTIONS, **options}, shape, classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    return model


def images(shape: tuple[int, ...], rows: int = 3) -> torch.Tensor:
    return torch.rand((rows, shape[2], *shape[:2]), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("shape", "positions"), POSITIONS.items(), ids=str)
def test_images_of_any_size_become_positions_then_logits(shape, positions):
    model = network(shape, classes=7)
    attended = []
    model.blocks[0].attend.register_forward_hook(lambda _, given, result: attended.append((given[2].shape, result)))
    assert model(images(shape)).shape == (3, 7)
    assert attended[0][0] == (3, positions, 32)
    assert attended[0][1].shape == (3, positions, 32)
    assert positions >= 16


@pytest.mark.parametrize(("name", "most"), FAMILY.items())
def test_every_size_keeps_its_budget_and_a_stem_of_two_fifths(name, most):
    backend = backends.load("torch")(Runtime())
    backend.start()
    options = dict(catalog()[name].options)
    backend.build(Network(Registered(name=name, options=options), MNIST, 10, Training()))
    layers = backend.layers()
    counted = sum(layer.parameters for layer in layers)
    assert counted == sum(math.prod(spec.shape) for spec in backend.weight_specs() if spec.trainable)
    assert 0.92 * most < counted < most
    assert sum(layer.parameters for layer in layers if layer.name.startswith("stem.")) <= 0.4 * counted


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("shape", [DIGITS, MNIST, CIFAR], ids=str)
def test_every_kind_of_scores_gives_logits_and_learns_all_over(shape, scores):
    model = network(shape, scores=scores, blocks=2)
    nn.functional.cross_entropy(model(images(shape, 8)), torch.arange(8)).backward()
    idle = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
    assert not idle
    names = {name.rpartition(".")[2] for name, _ in model.named_parameters()}
    assert ("pool_query" in names) == (scores in ("both", "content"))
    assert ("pool_position" in names) == ("relative_position" in names) == (scores in ("both", "position"))


def test_uniform_scores_weigh_every_position_alike():
    model, x = network(scores="uniform"), torch.randn(2, 49, 32)
    order = torch.randperm(49)
    assert torch.allclose(model.blocks[0](x[:, order]), model.blocks[0](x)[:, order], atol=1e-5)
    assert torch.allclose(model.pool(x), x.mean(dim=1))
    alone = network(scores="none").blocks[0].eval()
    moved = x.clone()
    moved[:, 0] += 1
    assert torch.equal(alone(moved)[:, 1:], alone(x)[:, 1:]), "without attention positions see each other"


def test_gradient_reaches_every_part_of_the_attention():
    torch.manual_seed(0)
    model = build("attention_5k", {**OPTIONS, "blocks": 2}, MNIST, 10)  # as it starts: zeros and ones
    nn.functional.cross_entropy(model(images(MNIST, 8)), torch.arange(8)).backward()
    for block in model.blocks:
        for part in (block.query, block.key, block.value):
            assert (part.weight.grad != 0).any()
        assert (block.query.bias.grad != 0).any()
        assert (block.attend.relative_position.grad != 0).any(dim=1).all(), "a head's position bias learns nothing"
    assert (model.pool.pool_query.grad != 0).any(dim=1).all(), "a pooling query learns nothing"


def test_a_single_weight_neuron_has_one_weight_and_sees_one_input():
    for block in network(blocks=2).blocks:
        for part, bias in ((block.query, 1), (block.key, 0), (block.value, 1)):
            assert isinstance(part, SingleWeight)
            assert sum(parameter.numel() for parameter in part.parameters()) == 32 * (1 + bias)
            slopes = torch.autograd.functional.jacobian(part, torch.rand(32))
            assert torch.equal(slopes, torch.diag(part.weight)), "a neuron's output depends on another's input"


def test_attention_equals_its_definition():
    torch.manual_seed(0)
    heads, grid = 2, (2, 3)
    attend = RelativeAttention(sized(4, heads, grid))
    nn.init.normal_(attend.relative_position)
    query, key, value = torch.randn(3, 1, 6, 4, dtype=torch.float64)
    table = attend.double().relative_position.view(heads, 3, 5)
    expected = torch.zeros(6, 4, dtype=torch.float64)
    for head, part in enumerate((slice(0, 2), slice(2, 4))):
        for i in range(6):
            scores = [
                query[0, i, part] @ key[0, j, part] / math.sqrt(2) + table[head, i // 3 - j // 3 + 1, i % 3 - j % 3 + 2]
                for j in range(6)
            ]
            expected[i, part] = torch.softmax(torch.stack(scores), 0) @ value[0, :, part]
    assert torch.allclose(attend(query, key, value)[0], expected)


def test_positions_matter_to_a_block_through_the_bias_alone():
    torch.manual_seed(0)
    block, x, order = network().blocks[0], torch.randn(2, 49, 32), torch.randperm(49)
    assert (block(x[:, order]) - block(x)[:, order]).abs().max() > 0.1
    nn.init.zeros_(block.attend.relative_position)
    assert torch.allclose(block(x[:, order]), block(x)[:, order], atol=1e-5)


def test_a_block_keeps_its_input_beside_what_attention_adds():
    block, x = network().blocks[0], torch.randn(2, 49, 32)
    for parameter in block.value.parameters():
        nn.init.zeros_(parameter)
    normalized = block.norm(torch.relu(x).flatten(0, 1)).view(x.shape)
    assert torch.allclose(block(x), normalized, atol=1e-6)


@pytest.mark.parametrize("switched_off", ["content", "position"])
def test_logits_depend_on_both_terms_of_the_scores(switched_off):
    model, x = network().eval(), images(MNIST)
    before = model(x)
    block: AttentionBlock = model.blocks[0]
    dead = [block.attend.relative_position] if switched_off == "position" else [block.query.weight, block.query.bias]
    for parameter in dead:
        nn.init.zeros_(parameter)
    assert (model(x) - before).abs().max() > 1e-3


def test_without_scores_attention_is_the_mean_of_all_positions():
    value = torch.randn(2, 16, 8)
    attended = RelativeAttention(sized(8, 4, (4, 4)))(torch.zeros(2, 16, 8), torch.randn(2, 16, 8), value)
    assert torch.allclose(attended, value.mean(dim=1, keepdim=True).expand(-1, 16, -1), atol=1e-6)


def test_pooling_weighs_the_positions_by_its_queries():
    torch.manual_seed(0)
    pool, x = AttentionPooling(sized(8, 4, (4, 4), queries=2)), torch.randn(1, 16, 8)
    scores = [
        x[0] @ query / math.sqrt(8) + place for query, place in zip(pool.pool_query, pool.pool_position, strict=True)
    ]
    means = torch.stack([torch.softmax(score, 0) @ x[0] for score in scores])
    assert torch.allclose(pool(x), means.flatten()[None], atol=1e-6)
    assert (means[0] - means[1]).abs().max() > 0.1, "the queries start alike"


def test_large_networks_of_the_family_take_their_options():
    model = network(width=48, heads=6, blocks=3, pooling_queries=4)
    assert len(model.blocks) == 3
    assert model.blocks[2].attend.relative_position.shape == (6, 13 * 13)
    assert model.logits.in_features == 4 * 48


@pytest.mark.parametrize(
    "options", [{"width": 30}, {"heads": 0}, {"blocks": 0}, {"pooling_queries": 0}, {"kernel": 4}, {"scores": "soft"}]
)
def test_options_that_make_no_network_are_the_users_mistake(options):
    with pytest.raises(UserError, match=next(iter(options))):
        build("attention_5k", {**OPTIONS, **options}, MNIST, 10)


def test_images_too_small_to_attend_over_are_the_users_mistake():
    with pytest.raises(UserError, match="16 positions"):
        build("attention_5k", OPTIONS, (3, 5, 1), 10)
