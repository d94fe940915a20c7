"""The architectures: one file a family and framework, found by their names, read without importing a framework.

A file ``torch_attention.py`` or ``keras_attention.py`` holds a literal ``ARCHITECTURES``, mapping each registered name
to its options and their defaults, and a function ``build(name, options, input_shape, classes)`` that returns an
``nn.Module`` or a ``keras.Model`` giving logits. The input shape is (height, width, channels) or (features,); a
keras.Model takes batches of (rows, *input_shape), an nn.Module has the channels before the height, as is PyTorch's way.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from config import Scalar


@dataclass(frozen=True)
class Entry:
    """A registered architecture: its options with defaults, and the module of each framework that has it."""

    options: Mapping[str, Scalar]
    modules: Mapping[str, str]


@functools.cache
def catalog() -> Mapping[str, Entry]:
    """Return every registered architecture by name, from the literals in this folder's files.

    Raises
    ------
    ValueError
        Where two frameworks' files give one name different options: it would not be the same network.
    """
    entries: dict[str, Entry] = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*_*.py")):
        framework = path.stem.partition("_")[0]
        for name, options in _declared(path).items():
            known = entries.setdefault(name, Entry(options, {}))
            if known.options != options:
                raise ValueError(f"{path.name}: {name} has other options than in {', '.join(known.modules.values())}")
            entries[name] = Entry(options, {**known.modules, framework: f"{__name__}.{path.stem}"})
    return entries


def _declared(path: Path) -> dict[str, dict[str, Scalar]]:
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "ARCHITECTURES":
            declared: dict[str, dict[str, Scalar]] = ast.literal_eval(statement.value)
            return declared
    return {}


def offered(framework: str) -> frozenset[str]:
    """Return the needs ``architecture:NAME`` that a framework's files satisfy."""
    return frozenset(f"architecture:{name}" for name, entry in catalog().items() if framework in entry.modules)


def module(framework: str, name: str) -> ModuleType:
    """Import the file that builds architecture `name` in `framework`."""
    return importlib.import_module(catalog()[name].modules[framework])
