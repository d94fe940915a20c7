"""A network trained as a PyTorch tutorial does it: loaders, a model, one call.

This is the published experiment's way of use. It takes any nn.Module that gives logits for images
(rows, channels, height, width). For figures to compare with others, give the module to ``compare.py --arch`` instead.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader


def get_mnist_dataloaders(
    batch_size: int = 64, dataset: str = "auto", data_dir: str | None = None
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return loaders of the official training and test images, pixels from 0 to 1, and their labels.

    Parameters
    ----------
    dataset : as ``compare.py --dataset`` takes it; a data set without an official split is cut 80/20.
    data_dir : as ``compare.py --data-dir``.

    Raises
    ------
    UserError
        Where the data set is not to be had.
    """
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from common import data
    from common.splits import split

    loaded = data.load(dataset, data_dir)
    rows = split(
        loaded.labels,
        official_train=loaded.official_train,
        data_hash=loaded.sha256,
        train_share=None if loaded.official_train else 0.8,
        seed=0,
        validation=0,
        rows=None,
    )
    images = torch.tensor(loaded.images, dtype=torch.float32).permute(0, 3, 1, 2) / loaded.max_value
    parts = [TensorDataset(images[part], torch.tensor(loaded.labels[part])) for part in (rows.train, rows.test)]
    return DataLoader(parts[0], batch_size, shuffle=True), DataLoader(parts[1], batch_size)


def train_model(
    model: nn.Module,
    train_loader: DataLoader[Any],
    test_loader: DataLoader[Any],
    epochs: int = 15,
    learning_rate: float = 0.001,
    checkpoint: str | Path | None = None,
) -> dict[str, Any]:
    """Train with Adam, a tenth of the learning rate every 7 epochs, and test once at the end.

    Parameters
    ----------
    checkpoint : where the state dict is written (``.pth``); ``torch.load(path, weights_only=True)`` reads it.

    Returns
    -------
    ``train_loss`` (a value an epoch), ``test_accuracy`` (a share), ``train_s`` and ``parameters``.
    """
    import torch
    from torch import nn

    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    cross_entropy, losses = nn.CrossEntropyLoss(), []
    start = time.perf_counter()
    for _ in range(epochs):
        model.train()
        total = torch.zeros(())
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.detach() / len(train_loader)
        scheduler.step()
        losses.append(float(total))
    train_s = time.perf_counter() - start
    model.eval()
    with torch.inference_mode():
        right = sum(int((model(images).argmax(dim=1) == labels).sum()) for images, labels in test_loader)
        rows = sum(len(labels) for _, labels in test_loader)
    if checkpoint is not None:
        torch.save(model.state_dict(), checkpoint)
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"train_loss": losses, "test_accuracy": right / rows, "train_s": train_s, "parameters": parameters}
