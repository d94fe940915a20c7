"""Networks of the user's own: the callable that a specification names, found and called."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any

from backends.base import Unsupported
from config import Custom, UserError, source_of

_NETWORKS = {
    "Module": "expected a torch.nn.Module",
    "Model": "expected a keras.Model",
    "ClassifierMixin": "expected a scikit-learn classifier",
}
"""What each backend takes, by the name of its class."""


def build(spec: Custom, input_shape: tuple[int, ...], classes: int, kind: type) -> Any:
    """Call the user's callable and return its network.

    It is given the spec's options, and those of ``input_shape`` (height, width, channels) and ``classes`` that it takes.

    Parameters
    ----------
    kind : what the network must be.

    Raises
    ------
    UserError
        Where there is no such callable, it takes no such option, or returns no network.
    Unsupported
        Where it returns another framework's network.
    """
    module, _, name = spec.place.partition(":")
    make = getattr(_imported(module, spec.place), name, None)
    if not callable(make):
        raise UserError(f"{spec.place}: {module} has no callable {name!r}")
    signature = inspect.signature(make)
    known = {"input_shape": input_shape, "classes": classes}
    given = {key: value for key, value in known.items() if key in signature.parameters} | spec.options
    try:
        signature.bind(**given)
    except TypeError as error:
        raise UserError(f"{spec.place}: {error}; it is defined as {name}{signature}") from error
    made = make(**given)
    if isinstance(made, kind):
        return made
    found = f"{spec.place} returned a {type(made).__module__}.{type(made).__qualname__}; {_NETWORKS[kind.__name__]}"
    foreign = {parent.__name__ for parent in type(made).__mro__} & set(_NETWORKS)
    raise Unsupported(found) if foreign else UserError(found)


def check_logits(spec: Custom, shape: tuple[int, ...], classes: int) -> None:
    """Refuse a network whose answer to a batch has not one logit a class.

    Raises
    ------
    UserError
        With the shape that was found.
    """
    if shape[1:] != (classes,):
        found = ", ".join(map(str, shape[1:]))
        raise UserError(f"{spec.place}: its network returns (rows, {found}); expected (rows, {classes}), logits")


def _imported(module: str, place: str) -> Any:
    if not module.endswith(".py"):
        return importlib.import_module(module)
    found = importlib.util.spec_from_file_location("samenet_custom", source_of(place))
    assert found is not None and found.loader is not None
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded
