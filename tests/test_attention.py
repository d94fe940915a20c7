"""The lightweight attention networks: their sizes, and that their attention is one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import backends  # noqa: E402
from backends.base import Network, Runtime  # noqa: E402
from backends.models import catalog, module  # noqa: E402
from backends.models.attention import SCORES, Attention  # noqa: E402
from backends.models.torch_attention import (  # noqa: E402
    AttentionPooling,
    RotaryAttention,
    build,
)
from common.initial import epochs, initial_weights  # noqa: E402
from config import Registered, Training, Trial, UserError  # noqa: E402

OPTIONS = catalog()["attention_5k"].options
FAMILY = {"attention_700": 750, "attention_2k": 2_000, "attention_5k": 5_000, "attention_10k": 10_000,
          "attention_25k": 25_000, "attention_50k": 50_000}  # fmt: skip
DIGITS, MNIST, CIFAR = (8, 8, 1), (28, 28, 1), (32, 32, 3)
POSITIONS = {DIGITS: 64, MNIST: 49, CIFAR: 64, (9, 8, 1): 20, (10, 13, 2): 35, (224, 224, 3): 49}


def attention(width: int, heads: int, grid: tuple[int, int], scores: str = "both") -> Attention:
    return Attention(width, heads, scores, "single", grid)


def network(
    shape: tuple[int, ...] = MNIST, classes: int = 10, name: str = "attention_5k", **options: int | str
) -> nn.Module:
    """Return a network whose weights are all random, so that nothing in it is switched off by a zero."""
    torch.manual_seed(0)
    model = module("torch", name).build(name, {**catalog()[name].options, **options}, shape, classes)
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
    model.blocks[0].attend.register_forward_hook(lambda _, given, result: attended.append((given[0].shape, result)))
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
    assert 0.9 * most < counted < most
    assert sum(layer.parameters for layer in layers if layer.name.startswith("stem.")) <= 0.4 * counted


@pytest.mark.parametrize("name", ["attention_5k", "attention_pure"])
@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("shape", [DIGITS, MNIST, CIFAR], ids=str)
def test_every_kind_of_scores_gives_logits_and_learns_all_over(shape, scores, name):
    model = network(shape, name=name, scores=scores, blocks=2).double()
    nn.functional.cross_entropy(model(images(shape, 8).double()), torch.arange(8)).backward()
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    # where a gradient is nothing but rounding, what follows takes away all that the parameter does
    idle = [name for name, parameter in learned.items() if parameter.grad.abs().max() < 1e-12]
    # but for one of the pure network's: where content does not weigh, its pooling moves as its input does, and the norm
    # behind takes that away
    assert set(idle) <= ({"blocks.block_1.norm.bias"} if name == "attention_pure" and not SCORES[scores][0] else set())
    names = {name.rpartition(".")[2] for name in learned}
    assert ("query_weight" in names) == (scores in ("both", "content"))
    assert ("frequency" in names) == (scores in ("both", "position"))
    assert ("pool_query" in names) == (scores in ("both", "content", "frozen"))


def test_frozen_query_and_key_stand_where_they_were_drawn():
    model = network(scores="frozen")
    frozen = {name.rpartition(".")[2] for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"query_weight", "query_bias", "key_weight", "key_bias", "frequency"}


def test_uniform_scores_weigh_every_position_alike():
    model, x = network(scores="uniform"), torch.randn(2, 49, 32)
    order = torch.randperm(49)
    assert torch.allclose(model.blocks[0](x[:, order]), model.blocks[0](x)[:, order], atol=1e-5)
    assert torch.allclose(model.pool(x), x.mean(dim=1))
    alone = network(scores="none").blocks[0].eval()
    moved = x.clone()
    moved[:, 0] += 1
    assert torch.equal(alone(moved)[:, 1:], alone(x)[:, 1:]), "without attention positions see each other"


@pytest.mark.parametrize("name", ["attention_5k", "attention_pure"])
def test_gradient_reaches_every_part_of_the_attention(name):
    torch.manual_seed(0)
    model = module("torch", name).build(name, {**catalog()[name].options, "blocks": 2}, MNIST, 10)  # as it starts
    nn.functional.cross_entropy(model(images(MNIST, 8)), torch.arange(8)).backward()
    for block in model.blocks:
        for part in ("query_weight", "query_bias", "key_weight", "key_bias", "value_weight"):
            assert (getattr(block.attend, part).grad.abs() > 1e-6).float().mean() > 0.9, part
        assert (block.attend.frequency.grad != 0).flatten(1).any(dim=1).all(), "a head's turning learns nothing"
    assert (model.pool.pool_query.grad != 0).any(dim=1).all(), "a pooling query learns nothing"


def test_a_single_weight_neuron_has_one_weight_and_sees_one_input():
    """Where all positions weigh alike, what attention gathers is a channel's value and nothing of another channel."""
    attend = network(scores="uniform").blocks[0].attend
    assert attend.value_weight.shape == attend.value_bias.shape == (32,)
    slopes = torch.autograd.functional.jacobian(lambda x: attend(x.expand(1, 49, 32))[0, 0], torch.rand(32))
    assert torch.allclose(slopes, torch.diag(attend.value_weight), atol=1e-5)
    both = network().blocks[0].attend
    assert {name: tuple(p.shape) for name, p in both.named_parameters() if name != "frequency"} == {
        f"{part}_{kind}": (32,) for part in ("query", "key", "value") for kind in ("weight", "bias")
    }


def test_the_pure_network_has_neither_convolution_nor_dense_layer_before_its_head():
    model = network(name="attention_pure")
    kinds = [type(part) for part in model.modules() if next(part.parameters(recurse=False), None) is not None]
    assert kinds.count(nn.Linear) == 1 and not any(issubclass(kind, nn.Conv2d) for kind in kinds)
    assert model.logits.in_features <= 128
    seen = []
    model.stem.register_forward_hook(lambda _, given, result: seen.append(result.shape[1:]))
    model(images(MNIST))
    assert seen[0].numel() // 128 == 49
    patches = model.stem.eval()
    image = images(MNIST, 1)
    changed = image.clone()
    changed[0, 0, 5, 9] += 1
    moved = (patches(changed) != patches(image)).nonzero()
    # the pixel at (5, 9) is number 1 * 4 + 1 of the patch at (1, 2), and eight neurons look at it
    assert moved[:, 1:].tolist() == [[copy * 16 + 5, 1, 2] for copy in range(8)]


def test_attention_equals_its_definition():
    torch.manual_seed(0)
    attend = RotaryAttention(attention(8, 2, (2, 8))).double()
    x = torch.randn(1, 16, 8, dtype=torch.float64)
    query, key = x[0] * attend.query_weight + attend.query_bias, x[0] * attend.key_weight + attend.key_bias
    value = x[0] * attend.value_weight + attend.value_bias
    expected = torch.zeros(16, 8, dtype=torch.float64)
    for head in range(2):
        for i in range(16):
            scores = []
            for j in range(16):
                score = torch.zeros((), dtype=torch.float64)
                for pair in range(2):
                    first, second = 2 * head + pair, 4 + 2 * head + pair
                    down, right = attend.frequency[head, pair]
                    # the way from j to i turns the key, seen from the query
                    angle = (j // 8 - i // 8) * down + (j % 8 - i % 8) * right
                    cosine, sine = angle.cos(), angle.sin()
                    score = score + query[i, first] * (key[j, first] * cosine - key[j, second] * sine)
                    score = score + query[i, second] * (key[j, first] * sine + key[j, second] * cosine)
                scores.append(score / 2)
            expected[i, 4 * head : 4 * head + 4] = (
                torch.softmax(torch.stack(scores), 0) @ value[:, 4 * head : 4 * head + 4]
            )
    assert torch.allclose(attend(x)[0], expected)


def test_positions_matter_to_a_block_through_the_turning_alone():
    torch.manual_seed(0)
    block, x, order = network().blocks[0], torch.randn(2, 49, 32), torch.randperm(49)
    assert (block(x[:, order]) - block(x)[:, order]).abs().max() > 0.1
    nn.init.zeros_(block.attend.frequency)
    assert torch.allclose(block(x[:, order]), block(x)[:, order], atol=1e-5)


def test_a_block_keeps_its_input_beside_what_attention_adds():
    block, x = network().blocks[0], torch.randn(2, 49, 32)
    nn.init.zeros_(block.attend.value_weight)
    nn.init.zeros_(block.attend.value_bias)
    kept = block.norm(torch.relu(x).flatten(0, 1)).view(x.shape)
    assert torch.allclose(block(x), kept, atol=1e-6)


@pytest.mark.parametrize("switched_off", [["frequency"], ["query_weight", "key_weight"]])
def test_logits_depend_on_both_terms_of_the_scores(switched_off):
    model, x = network().eval(), images(MNIST)
    before = model(x)
    for name in switched_off:
        nn.init.zeros_(getattr(model.blocks[0].attend, name))
    assert (model(x) - before).abs().max() > 1e-3


def test_by_place_alone_content_does_not_weigh():
    attend, x = network(scores="position").blocks[0].attend, torch.randn(2, 49, 32)
    assert torch.allclose(attend(x) + attend(-x), 2 * attend(torch.zeros_like(x)), atol=1e-4), "not linear in x"
    content = network().blocks[0].attend
    assert (content(x) + content(-x) - 2 * content(torch.zeros_like(x))).abs().max() > 0.1


def test_without_query_attention_is_the_mean_of_all_positions():
    x, attend = torch.randn(2, 16, 8), RotaryAttention(attention(8, 2, (4, 4), "content"))
    nn.init.zeros_(attend.query_weight)
    nn.init.zeros_(attend.query_bias)
    assert torch.allclose(attend(x), x.mean(dim=1, keepdim=True).expand(-1, 16, -1), atol=1e-6)


def test_pooling_weighs_the_positions_by_its_queries():
    torch.manual_seed(0)
    pool, x = AttentionPooling(attention(8, 2, (4, 4)), 2), torch.randn(1, 16, 8)
    means = []
    for query, center, sharpness in zip(
        pool.pool_query, pool.pool_center[:, 0], pool.pool_sharpness[:, 0], strict=True
    ):
        scores = []
        for number in range(16):
            place = torch.tensor([number // 4 - 1.5, number % 4 - 1.5]) / 2
            scores.append(x[0, number] @ query / math.sqrt(8) - ((place - center) * sharpness).square().sum())
        means.append(torch.softmax(torch.stack(scores), 0) @ x[0])
    assert torch.allclose(pool(x), torch.cat(means)[None], atol=1e-6)
    assert (means[0] - means[1]).abs().max() > 0.1, "the queries start alike"


def test_large_networks_of_the_family_take_their_options():
    model = network(width=48, heads=6, blocks=3, pooling_queries=4, projections="dense")
    assert len(model.blocks) == 3
    assert model.blocks[2].attend.frequency.shape == (6, 4, 2)
    assert model.blocks[2].attend.query_kernel.shape == (48, 48)
    assert model.logits.in_features == 4 * 48


@pytest.mark.parametrize("shape", [MNIST, DIGITS, CIFAR], ids=str)
def test_fewer_positions_are_pooled_from_the_same_stem(shape):
    few, usual = (network(shape, positions=most) for most in (16, 64))
    assert few.blocks[0].attend.kind.grid == (4, 4)
    assert [p.shape for p in few.parameters()] == [p.shape for p in usual.parameters()]
    x = images(shape)
    pooled = torch.nn.functional.adaptive_max_pool2d(usual.stem(x), 1)
    assert torch.equal(torch.nn.functional.adaptive_max_pool2d(few.stem(x), 1), pooled), "some of the stem is dropped"
    assert few(x).shape == (3, 10)


@pytest.mark.parametrize(
    "options",
    [
        {"width": 36},
        {"heads": 0},
        {"blocks": 0},
        {"pooling_queries": 0},
        {"kernel": 4},
        {"positions": 15},
        {"positions": 65},
        {"scores": "soft"},
        {"projections": "low"},
    ],
)
def test_options_that_make_no_network_are_the_users_mistake(options):
    with pytest.raises(UserError, match="heads" if "width" in options else next(iter(options))):
        build("attention_5k", {**OPTIONS, **options}, MNIST, 10)


def test_positions_that_no_halving_gives_are_the_users_mistake():
    with pytest.raises(UserError, match=r"positions 16; .* the 5x5 of this image are 3x3, and 16 are needed"):
        build("attention_5k", {**OPTIONS, "positions": 16}, (20, 20, 1), 10)


def test_an_option_that_came_later_changes_no_key_at_its_default():
    def trial(architecture: str) -> Trial:
        fields = {"backend": "torch", "dataset": "digits", "seed": 0, "architecture": architecture}
        return Trial.model_validate(fields, context=backends.vocabulary())

    written = json.loads(trial("attention_5k").canonical())["architecture"]
    assert "positions" not in written["options"]
    assert build("attention_5k", written["options"], MNIST, 10).blocks[0].attend.kind.positions == 49
    assert trial("attention_5k+positions=64").key == trial("attention_5k").key != trial("attention_5k+positions=16").key


def test_images_too_small_to_attend_over_are_the_users_mistake():
    with pytest.raises(UserError, match="16 positions"):
        build("attention_5k", OPTIONS, (3, 5, 1), 10)


TWINS = """
import numpy as np, backends
from backends.base import Network, Runtime
from backends.models import catalog
from common.initial import initial_weights
from config import Registered, Training
pair = [backends.load(name)(Runtime(engine=engine, precision="float64")) for name, engine in
        (("torch", None), ("keras", "torch"))]
for backend in pair:
    backend.start()
for name, changes, shape in {cases}:
    case, images = (name, changes, shape), np.random.default_rng(0).random((4, *shape))
    options = {{**catalog()[name].options, **changes}}
    network = Network(Registered(name=name, options=options), shape, 10, Training())
    answers, learned, maps, sizes = [], [], [], []
    for backend in pair:
        backend.build(network)
        specs, layers = backend.weight_specs(), backend.layers()
        backend.set_weights(initial_weights(specs, network, 0))
        answers.append(backend.predict_proba(images))
        maps.append(backend.attention(images.astype(np.float64)))
        learned.append({{spec.name: spec.trainable for spec in specs}})
        sizes.append([sum(layer.parameters for layer in layers), sum(layer.flops for layer in layers)])
    assert learned[0] == learned[1], case
    assert sizes[0] == sizes[1], (case, sizes)
    assert abs(np.asarray(answers[0]) - np.asarray(answers[1])).max() < 1e-12, case
    assert list(maps[0]) == list(maps[1]) and len(maps[0]) == options.get("blocks", -1) + 1, (case, list(maps[1]))
    for part, map in maps[0].items():
        assert map.shape[0] == 4 and abs(map.sum(axis=(1, 2)) - 1).max() < 1e-12, (case, part)
        assert abs(map - maps[1][part]).max() < 1e-12, (case, part)
"""


@pytest.mark.slow
def test_the_twin_in_keras_is_the_same_function_with_every_option():
    cases = [("attention_2k", {"scores": scores, "blocks": 2}, MNIST) for scores in SCORES]
    cases += [("attention_2k", {"projections": "dense"}, MNIST), ("attention_2k", {}, (66, 69, 1)),
              ("attention_2k", {"positions": 16}, MNIST)]  # fmt: skip
    cases += [(name, {}, MNIST) for name in ("mlp", "cnn", "resnet", "fast_cnn")]
    environment = {**os.environ, **backends.load("keras").environment(Runtime(engine="torch"))}
    command = [sys.executable, "-c", TWINS.format(cases=cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["tensorflow", "jax"])
def test_the_twin_in_keras_trains_in_float32_on_every_engine(engine, tmp_path):
    flags = ["--dataset", "digits", "--split", "0.8", "--epochs", "1", "--seeds", "1", "--threads", "1", "--json"]
    flags += ["--backend", "keras", "--engine", engine, "--arch", "attention_2k", "--results", str(tmp_path)]
    root = Path(__file__).parent.parent
    command = [sys.executable, "compare.py", *flags]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("shape", [(17, 17, 1), (20, 20, 1), (24, 24, 3), *POSITIONS])
def test_the_pure_network_fits_any_image_whose_patches_fit_its_head(shape):
    if shape in ((24, 24, 3), (224, 224, 3)):
        with pytest.raises(UserError, match="inputs of at least"):
            network(shape, name="attention_pure")
    else:
        assert network(shape, name="attention_pure")(images(shape)).shape == (3, 10)


def test_training_leaves_frozen_arrays_alone_with_a_changing_rate():
    options = {**catalog()["attention_2k"].options, "scores": "frozen"}
    training = Training(optimizer="sgd", momentum=0.9, schedule="cosine", epochs=1, batch_size=32)
    given = Network(Registered(name="attention_2k", options=options), DIGITS, 10, training)
    backend = backends.load("torch")(Runtime())
    backend.start()
    backend.build(given)
    backend.set_weights(initial_weights(backend.weight_specs(), given, 0))
    before = backend.get_weights()
    data = backend.prepare(images(DIGITS, 64).permute(0, 2, 3, 1).numpy(), np.arange(64) % 10)
    backend.fit(data, epochs(training, 64, 0), lambda _: False)
    after = backend.get_weights()
    changed = {name.rpartition("/")[2] for name in after if "/attend/" in name and (after[name] != before[name]).any()}
    assert changed & {"value_weight", "query_weight", "key_weight", "frequency"} == {"value_weight"}
