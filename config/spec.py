"""What all specifications share: their base, a user's mistake, and the names that exist here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import (
    BaseModel,
    ConfigDict,
)

Scalar = bool | int | float | str


class UserError(Exception):
    """A mistake in what the user gave (file, flag, data): shown as one message, exit status 2, never a traceback."""


@dataclass(frozen=True)
class Vocabulary:
    """The names that exist in this installation; config itself imports no backend.

    Attributes
    ----------
    backends : mapping of backend name to its engines (empty where it has none; the first is the default).
    architectures : mapping of registered architecture name to its options and their default values.
    allow_code : whether ``module:callable`` may be run: the user gave it on the command line, or said so.
    """

    backends: Mapping[str, tuple[str, ...]]
    architectures: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    allow_code: bool = False


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known spelling, or a full stop."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else "."


class Spec(BaseModel):
    """Base of all specifications: frozen, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
