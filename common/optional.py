"""Packages that only some users need: named where one is missing, with what to type."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from config import UserError


def check_installed(what: str, modules: Iterable[str], requirements: str) -> None:
    """Check that `modules` can be imported, and import none.

    Parameters
    ----------
    what : who needs them, as the message names it, such as ``track: mlflow``.
    requirements : the file that has them.

    Raises
    ------
    UserError
        Where one is missing.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        raise UserError(
            f"{what} needs {' and '.join(missing)}, not installed here; type python -m pip install -r {requirements}"
        )
