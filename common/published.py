"""Figures that others published, on MNIST: what the claims are about, and the records that results stand beside.

Facts alone, with where each was read. Accuracies are in percent, times in seconds; most are of one run, and some of
the records were chosen on the test set, as their remarks say.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """One row of a published table, the epochs it was trained, and the architecture here that is the same network."""

    title: str
    architecture: str
    epochs: int
    accuracy: float
    parameters: int | None = None
    train_s: float | None = None


@dataclass(frozen=True)
class Record:
    """The best accuracy that was found published within a budget of parameters.

    Attributes
    ----------
    budget : the most parameters a network may have to stand beside it.
    parameters : those of the published network.
    family : how the names of the architectures begin that stand beside it; any where empty.
    """

    title: str
    budget: int
    accuracy: float
    parameters: int
    source: str
    remark: str
    family: str = ""


LIGHTWEIGHT_SOURCE = "TinkerForge-AI/experiment-3-lightweight-neurons"
"""CPU, batch 64, Adam at 0.001, a tenth of it every 7 epochs, 15 epochs (ResNet and Adaptive 20), one run, no fixed seed,
the best epoch chosen on the test set; the figures here are those of the last epoch."""

LIGHTWEIGHT_RECIPE = {"optimizer": "adam", "learning_rate": 0.001, "schedule": "step", "batch_size": 64}
"""The same as a trial's settings; the epochs stand with each model."""

LIGHTWEIGHT = (
    Model("Traditional_MLP", "mlp", 15, 98.63, 535_818, 795.6),
    Model("Traditional_CNN", "cnn", 15, 99.53, 390_410, 1558.7),
    Model("Traditional_ResNet", "resnet", 20, 99.55, 174_970, 3549.8),
    Model("Lightweight_Basic", "lightweight_basic", 15, 98.36, 344_154, 1466.5),
    Model("Lightweight_Conv", "lightweight_conv", 15, 99.27, 316_715, 1125.1),
    Model("Lightweight_Adaptive", "lightweight_adaptive", 20, 97.81, 958_030, 1711.2),
    Model("Lightweight_No_Attention", "lightweight_no_attention", 15, 98.2, 109_386, 1212.0),
)

EXPLORATION_SOURCE = "aryansk/MNIST-Deep-Learning-Exploration"

EXPLORATION_RECIPE = {"batch_size": 32}
"""Its batches, as a trial's settings; the epochs stand with each model."""

NODES = (
    Model("4 nodes", "ffn:4", 10, 85.2, 3_214, 12.3),
    Model("32 nodes", "ffn:32", 10, 92.1, 25_962, 15.7),
    Model("64 nodes", "ffn:64", 10, 94.5, 51_914, 18.2),
    Model("128 nodes", "ffn:128", 10, 96.2, 103_818, 22.8),
    Model("512 nodes", "ffn:512", 10, 97.1, 415_242, 35.6),
    Model("2056 nodes", "ffn:2056", 10, 97.3, 1_661_962, 89.4),
)

DEPTHS = (
    Model("Basic FFN", "ffn:64", 10, 92.5, None, 25),
    Model("4-Layer DNN", "ffn:4x64", 10, 95.8, None, 45),
    Model("8-Layer DNN", "ffn:8x64", 10, 97.2, None, 78),
    Model("16-Layer DNN", "ffn:16x64", 10, 97.5, None, 156),
)

RECORDS = (
    Record(
        "about 700 parameters", 750, 99.03, 697, "JoshWarn/Parameter-Efficient-MNIST", "best of 700 on the test set"
    ),
    Record("under 2,000 parameters", 2_000, 99.1, 1_936, "ruslangrimov/mnist-minimal-model", "one run"),
    Record("under 5,000 parameters", 5_000, 99.52, 3_762, "adilsammar/woolly-of-cv", "one run"),
    Record("under 10,000 parameters", 10_000, 99.5, 7_918, "snehanshu-raj/ERA", "one run"),
    Record("under 25,000 parameters", 25_000, 99.59, 15_794, "divya-r-kamat/EfficientMnist-Under20K", "one run"),
    Record("attention", 210_000, 99.5, 210_000, "s-chh, small ViT", "one run", "attention_"),
)
