"""Find plugins by entry-point name. The only file that imports by string.

A plugin whose library is missing gives one sentence that names the extra to install.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
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
    "pyarrow": "events",
    "duckdb": "events",
    "scipy": "monitor",
    "pandera": "retrain",
    "cronsim": "retrain",
    "psycopg": "postgres",
    "matplotlib": "demo",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "ai_edge_litert": "litert",
    "torch": "torch",
    "tensorflow": "tensorflow",
    "safetensors": "torch",
    "transformers": "transformers",
    "onnxscript": "torch",
    "nats": "brokers",
    "redis": "redis",
    "aio_pika": "brokers",
    "confluent_kafka": "brokers",
    "grpc": "grpc",
    "jwt": "auth",
    "cryptography": "auth",
    "opentelemetry": "otel",
    "openvino": "llm",
    "openvino_genai": "llm",
    "openvino_tokenizers": "llm",
    "tokenizers": "llm",
    "jinja2": "llm",
    "presidio_analyzer": "presidio",
    "spacy": "presidio",
    "usearch": "llm",
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


def installed(*libraries: str) -> bool:
    """Whether all of these could be imported; none is."""
    return all(importlib.util.find_spec(library) is not None for library in libraries)


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


def module_from(path: Path) -> ModuleType:
    """Run a Python file afresh and return its module. Files beside it can be imported while it runs.

    It is kept in ``sys.modules`` under a name of its own, so that what it defines can be pickled. Raises UsageError
    when there is no such file, and whatever the file raises.
    """
    path = path.absolute()
    if not path.is_file():
        raise UsageError(f"{path} is not a file; name a Python file")
    name = f"fairlead_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(path.parent))
    return module


def missing(error: ModuleNotFoundError, what: str) -> MissingExtra:
    """The sentence for a library that is not installed."""
    library = (error.name or str(error)).partition(".")[0]
    extra = _EXTRA_OF.get(library)
    remedy = f"pip install 'fairlead[{extra}]'" if extra else f"pip install {library}"
    return MissingExtra(f"{what} needs the library {library!r}, which is not installed: {remedy}")
