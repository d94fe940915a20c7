"""Networks of the user's own: the callable that a specification names, found and called."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any

from config import Custom, source_of


def build(spec: Custom, input_shape: tuple[int, ...], classes: int, kind: type) -> Any:
    """Call the user's callable and return its network.

    It is given the spec's options, and those of ``input_shape`` (height, width, channels) and ``classes`` that it takes.

    Parameters
    ----------
    kind : what the network must be.

    Raises
    ------
    TypeError
        Where the callable returns something else.
    """
    module, _, name = spec.place.partition(":")
    make = getattr(_imported(module, spec.place), name)
    takes = inspect.signature(make).parameters
    known = {"input_shape": input_shape, "classes": classes}
    made = make(**{key: value for key, value in known.items() if key in takes}, **spec.options)
    if not isinstance(made, kind):
        found = type(made)
        raise TypeError(f"{spec.place} returned a {found.__module__}.{found.__qualname__}; expected a {kind.__name__}")
    return made


def _imported(module: str, place: str) -> Any:
    if not module.endswith(".py"):
        return importlib.import_module(module)
    found = importlib.util.spec_from_file_location("samenet_custom", source_of(place))
    assert found is not None and found.loader is not None
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded
