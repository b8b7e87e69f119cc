"""Find plugins by entry-point name. The only file that imports by string.

A plugin whose library is missing gives one sentence that names the extra to install.
"""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fairlead.contracts.errors import MissingExtra, UsageError

_EXTRA_OF = {
    "sklearn": "train",
    "pandas": "train",
    "skops": "train",
    "joblib": "train",
    "skl2onnx": "train",
    "onnx": "train",
    "mlflow": "registry",
    "sqlalchemy": "registry",
    "alembic": "registry",
    "psycopg": "postgres",
    "matplotlib": "demo",
}
"""Which of our extras installs a library."""


@functools.cache
def _points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def names(group: str) -> list[str]:
    """Names of every installed plugin of a group, ours and strangers' alike."""
    return sorted(_points(group))


def known(group: str, name: str) -> EntryPoint:
    """The entry point itself; what is behind it is not imported. Raises UsageError when no such plugin is installed."""
    point = _points(group).get(name)
    if point is None:
        raise UsageError(f"no plugin named {name!r} in {group} (installed: {', '.join(names(group)) or 'none'})")
    return point


def load(group: str, name: str) -> Any:
    """The object behind an entry point.

    Raises UsageError when no such plugin is installed, MissingExtra when a library it needs is not.
    """
    point = known(group, name)
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise missing(error, f"{group.removeprefix('fairlead.').rstrip('s')} {name!r}") from error


def attribute(target: str) -> Any:
    """``package.module:Name`` as the user typed it. Raises UsageError when it is not there."""
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UsageError(f"{target}: no module named {error.name!r} on the Python path") from error
        raise
    try:
        return getattr(module, name)
    except AttributeError:
        raise UsageError(f"{target}: module {module_name!r} has no {name!r}") from None


def missing(error: ModuleNotFoundError, what: str) -> MissingExtra:
    """The sentence for a library that is not installed."""
    library = (error.name or str(error)).partition(".")[0]
    extra = _EXTRA_OF.get(library)
    remedy = f"pip install 'fairlead[{extra}]'" if extra else f"pip install {library}"
    return MissingExtra(f"{what} needs the library {library!r}, which is not installed: {remedy}")
