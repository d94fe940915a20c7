"""Typed, frozen specifications: what one trial is, what a study is, and every mistake in them said at once.

Everything that could change a trial's figures is a field of :class:`Trial`; its key is the SHA-256 of its canonical
JSON. A study file holds *grids*: the same fields, each with one value or a list of them, multiplied out.
"""

from config.architecture import Activation, Architecture, Custom, FeedForward, Registered, parse_architecture, source_of
from config.mistakes import explain
from config.search import Budget, Range, Search
from config.spec import Scalar, UserError, Vocabulary, nearest
from config.study import Study, expand, flatten
from config.trial import Loop, Optimizer, Precision, Protocol, Training, Trial, number_format

__all__ = [
    "Activation",
    "Architecture",
    "Budget",
    "Custom",
    "FeedForward",
    "Loop",
    "Optimizer",
    "Precision",
    "Protocol",
    "Range",
    "Registered",
    "Scalar",
    "Search",
    "Study",
    "Training",
    "Trial",
    "UserError",
    "Vocabulary",
    "expand",
    "explain",
    "flatten",
    "nearest",
    "number_format",
    "parse_architecture",
    "source_of",
]
