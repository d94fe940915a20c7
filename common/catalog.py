"""The published image sets: where they come from, what is in them, and which hashes they must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Source:
    """One published image set.

    Parameters
    ----------
    name : str
        Name of the set and of its folder in the data directory.
    what : str
        One line for a listing.
    class_names : tuple of str
        Name of each class, by label.
    mirrors : tuple of str
        Base addresses ending in a slash, tried in order.
    contents : mapping of str to (str or None)
        Files of the set, uncompressed, each with the SHA-256 of its content where a published one was confirmed.
    downloads : mapping of str to (str or None)
        Files as the mirrors serve them, each with the SHA-256 of the served bytes where that is the published one.
    """

    name: str
    what: str
    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    contents: Mapping[str, str | None]
    downloads: Mapping[str, str | None]


MNIST = Source(
    name="mnist",
    what="handwritten digits, 28x28 gray, 60,000 + 10,000",
    class_names=DIGITS,
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    contents={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    # The gzip wrapper differs from mirror to mirror, so only the content has a hash.
    downloads={
        "train-images-idx3-ubyte.gz": None,
        "train-labels-idx1-ubyte.gz": None,
        "t10k-images-idx3-ubyte.gz": None,
        "t10k-labels-idx1-ubyte.gz": None,
    },
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    what="articles of clothing, 28x28 gray, 60,000 + 10,000",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    contents={
        "train-images-idx3-ubyte": None,
        "train-labels-idx1-ubyte": None,
        "t10k-images-idx3-ubyte": None,
        "t10k-labels-idx1-ubyte": None,
    },
    # As TensorFlow Datasets records them (url_checksums/fashion_mnist.txt).
    downloads={
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)

CIFAR10 = Source(
    name="cifar10",
    what="photographs of 10 things, 32x32 color, 50,000 + 10,000",
    class_names=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    contents={
        "data_batch_1.bin": None,
        "data_batch_2.bin": None,
        "data_batch_3.bin": None,
        "data_batch_4.bin": None,
        "data_batch_5.bin": None,
        "test_batch.bin": None,
    },
    # As TensorFlow Datasets records it (url_checksums/cifar10.txt).
    downloads={"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
)

SOURCES: dict[str, Source] = {source.name: source for source in (MNIST, FASHION_MNIST, CIFAR10)}
