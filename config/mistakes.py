"""Mistakes in a specification, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import (
    BaseModel,
    ValidationError,
)

from config.architecture import FeedForward
from config.spec import Spec, nearest

_FIELD = re.compile(r"[a-z0-9_]+")


def explain(error: ValidationError, model: type[Spec]) -> list[str]:
    """Turn pydantic's errors into one line a field: dotted path, value found, what is allowed, nearest spelling."""
    messages: dict[tuple[str, str], list[str]] = {}
    unknown_names = [str(item["loc"][-1]) for item in error.errors() if item["type"] == "extra_forbidden"]
    for item in error.errors():
        # a union's members ("constrained-float", "FeedForward") stand in the path, and are no fields
        unknown = item["loc"][-1:] if item["type"] == "extra_forbidden" else ()  # written as the user likes
        inner = item["loc"][: len(item["loc"]) - len(unknown)]
        names = [str(part) for part in (*filter(_FIELD.fullmatch, map(str, inner)), *unknown)]
        found, message = "", item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _fields(model, names[:-1])
            groups = [
                group
                for group in ("training", "features")
                if names == names[-1:] and group in known and names[-1] in _fields(model, [group])
            ]
            hint = f"; did you mean {groups[0]}.{names[-1]}?" if groups else nearest(names[-1], known)
            written = [{"seed": "seeds"}.get(name, name) for name in known if name != "data_sha256"]
            message = f"is not a known field{hint} Known: {', '.join(written)}"
        elif item["type"] == "too_short" and item["input"]:
            continue  # its items are wrong, not too few: they have messages of their own
        elif item["type"] == "missing":
            if any(repr(names[-1]) in nearest(name, names[-1:]) for name in unknown_names):
                continue  # it is there, misspelt: the line of the unknown field says so
            message = "is missing; it has no default"
        elif item["type"] != "value_error":
            found = f"found {_short(item['input'])}; "
            message = message[0].lower() + message[1:] + _spelling(item["input"], item.get("ctx"))
        path = "seeds" if names == ["seed"] else ".".join(names)
        messages.setdefault((path, found), []).append(message)
    return [
        (f"{path}: " if path else "") + found + ", or ".join(dict.fromkeys(texts))
        for (path, found), texts in messages.items()
    ]


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for name in path:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        models = [
            one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, BaseModel)
        ]
        if not models:
            return list(FeedForward.model_fields)
        model = models[0]
    return list(model.model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _spelling(found: object, context: Mapping[str, Any] | None) -> str:
    allowed = re.findall(r"'([^']*)'", str((context or {}).get("expected", "")))
    return nearest(found, allowed).rstrip(".") if isinstance(found, str) else ""
