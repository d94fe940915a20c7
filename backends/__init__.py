"""The registry of backends: a name and where its class is, imported only when asked for."""

from __future__ import annotations

import importlib

from backends.base import Backend
from backends.models import catalog
from config import UserError, Vocabulary, nearest

_PLACES = {
    "sklearn": "backends.sklearn_mlp:SklearnBackend",
    "keras": "backends.keras_net:KerasBackend",
    "torch": "backends.torch_net:TorchBackend",
}


def register(name: str, place: str) -> None:
    """Add a backend of the user's own.

    Parameters
    ----------
    name : how study files and ``--backend`` call it.
    place : ``package.module:Class``, importable in a new process started in the same directory.
    """
    _PLACES[name] = place


def place(name: str) -> str:
    """Return the ``package.module:Class`` of a backend's name, for a process that has not seen the registration."""
    if name not in _PLACES:
        raise UserError(f"backend: {name!r} is not known{nearest(name, _PLACES)} Known: {', '.join(_PLACES)}")
    return _PLACES[name]


def load(name_or_place: str) -> type[Backend]:
    """Return a backend's class; the framework itself is imported only by its ``start``."""
    module, _, attribute = (name_or_place if ":" in name_or_place else place(name_or_place)).partition(":")
    found: type[Backend] = getattr(importlib.import_module(module), attribute)
    return found


def names() -> list[str]:
    """Return the registered names, in order of registration."""
    return list(_PLACES)


def vocabulary(allow_code: bool = False) -> Vocabulary:
    """Return the backends, engines and architectures that exist here, for validation."""
    return Vocabulary(
        allow_code=allow_code,
        backends={name: load(name).engines for name in _PLACES},
        architectures={name: entry.options for name, entry in catalog().items()},
    )
