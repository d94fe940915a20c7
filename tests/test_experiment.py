"""The tutorial's way of use: loaders, a model, one call, a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from backends.models.torch_lightweight import LightweightNetwork  # noqa: E402
from backends.models.torch_traditional import TraditionalCNN  # noqa: E402
from experiment import get_mnist_dataloaders, train_model  # noqa: E402


def test_loaders_give_batches_of_images_channels_first():
    train, test = get_mnist_dataloaders(batch_size=64, dataset="digits")
    images, labels = next(iter(train))
    assert images.shape == (64, 1, 8, 8) and images.min() >= 0 and images.max() == 1
    assert labels.shape == (64,) and len(train.dataset) + len(test.dataset) == 1797
    assert not torch.equal(next(iter(train))[1], labels), "training images are not shuffled"
    assert torch.equal(next(iter(test))[1], next(iter(test))[1])


@pytest.mark.parametrize("kind", [TraditionalCNN, LightweightNetwork])
def test_a_model_is_trained_and_its_checkpoint_loads_as_a_state_dict(kind, tmp_path: Path):
    torch.manual_seed(0)
    train, test = get_mnist_dataloaders(batch_size=32, dataset="digits")
    model = kind(input_shape=(8, 8, 1))
    found = train_model(model, train, test, epochs=4, checkpoint=tmp_path / "model.pth")
    assert found["test_accuracy"] > 0.8 and len(found["train_loss"]) == 4
    assert found["train_loss"][-1] < found["train_loss"][0] and found["train_s"] > 0
    again = kind(input_shape=(8, 8, 1))
    again.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    images = next(iter(test))[0]
    assert torch.equal(again.eval()(images), model.eval()(images))
    assert found["parameters"] == sum(parameter.numel() for parameter in again.parameters())
