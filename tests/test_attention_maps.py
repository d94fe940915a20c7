"""Maps of where a network looks: shares of one whole over the grid, and what attention multiplies with."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_attention import DIGITS, MNIST, attention, images  # noqa: E402

import backends  # noqa: E402
from backends.base import Network, Runtime  # noqa: E402
from backends.models import catalog  # noqa: E402
from backends.models.attention import SCORES  # noqa: E402
from backends.models.torch_attention import AttentionPooling, RotaryAttention  # noqa: E402
from common.initial import initial_weights  # noqa: E402
from config import Registered, Training  # noqa: E402


def looked_at(shape: tuple[int, ...], rows: int = 3, name: str = "attention_5k", **options: int | str):
    """Return the maps of a network with random weights, and the network."""
    backend = backends.load("torch")(Runtime())
    backend.start()
    options = {**catalog()[name].options, **options}
    given = Network(Registered(name=name, options=options), shape, 10, Training())
    backend.build(given)
    backend.set_weights(initial_weights(backend.weight_specs(), given, 0))
    return backend.attention(images(shape, rows).permute(0, 2, 3, 1).numpy()), backend._model


@pytest.mark.parametrize("name", ["attention_700", "attention_5k", "attention_pure"])
@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("shape", [DIGITS, MNIST, (10, 13, 2)], ids=str)
def test_each_layer_of_attention_shares_out_one_whole_over_its_grid(shape, scores, name):
    if name == "attention_pure" and shape == (10, 13, 2):
        pytest.skip("its patches do not fit its head")
    grid = {DIGITS: (8, 8), MNIST: (7, 7), (10, 13, 2): (5, 7)}[shape]
    maps, _ = looked_at(shape, name=name, scores=scores, blocks=2)
    assert list(maps) == ["blocks/block_0/attend", "blocks/block_1/attend", "pool"]
    for map in maps.values():
        assert map.shape == (3, *grid)
        assert np.allclose(map.sum(axis=(1, 2)), 1, atol=1e-6) and (map >= 0).all()
        assert np.ptp(map) == pytest.approx(0, abs=1e-7) if scores in ("uniform", "none") else np.ptp(map) > 1e-5
    if SCORES[scores][0]:
        assert np.abs(maps["pool"][0] - maps["pool"][1]).max() > 1e-5, "two images get the same map"


def test_a_map_is_the_mean_of_what_attention_multiplies_the_values_with():
    """Where each position's value is a channel of its own, what is gathered shows the shares."""
    kind, x = attention(64, 1, (7, 7), "position"), torch.eye(49, 64)[None]
    attend, pool = RotaryAttention(kind), AttentionPooling(kind, 3)
    for part, gathered in ((attend, attend(x)[0]), (pool, pool(x).view(3, 64))):
        seen = gathered.mean(dim=0)[:49].view(7, 7).detach().numpy()
        map = kind.shares_map(part.shares(x).detach().numpy(), 2)
        assert np.allclose(map, [seen, seen], atol=1e-6) and np.ptp(seen) > 1e-3


def test_a_network_without_attention_has_no_map():
    backend = backends.load("torch")(Runtime())
    backend.start()
    backend.build(Network(Registered(name="cnn", options=dict(catalog()["cnn"].options)), MNIST, 10, Training()))
    assert backend.attention(np.zeros((2, 28, 28, 1), np.float32)) == {}
