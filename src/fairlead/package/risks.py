"""What would run code if a model were loaded: found by content, whatever the model says about itself."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import BrokenModel, ModelError
from fairlead.package import savedmodel
from fairlead.package.formats import identify
from fairlead.package.manifest import inside, walk
from fairlead.package.pickles import is_pickle, pickles_in_zip

_PLAIN_LOADERS = ("mlflow.onnx", "mlflow.catboost")
"""MLflow loaders of formats that hold no code. The others unpickle, or import what the MLmodel names."""
_PATHS = ("data", "model_path", "model_data", "pickled_model", "saved_model_dir", "code")
"""Keys of an MLmodel's flavors whose values are paths inside the folder."""
_PROGRAMS = {
    "torchscript": "is a TorchScript program, and running it may read and write files",
    "mar": "holds a TorchScript program, and running it may read and write files",
    "pt2": "is an export archive, and PyTorch may unpickle parts of it and evaluate others",
}
"""Formats of PyTorch, by name: why each runs code."""
_LARGEST_SCHEMA = 256 << 20


@dataclass(frozen=True, slots=True)
class Risk:
    """``file``: relative to the model, or its name.  ``why``: completes the sentence "FILE ..."."""

    file: str
    why: str


def of_file(path: Path) -> list[Risk]:
    """A single file: a pickle, or an archive with pickles inside. skops and ONNX hold no code."""
    found = _program(path) or _content(path)
    return [Risk(path.name, found)] if found else []


def of_folder(folder: Path, mlmodel: Mapping[str, Any]) -> list[Risk]:
    """An MLflow folder as ``mlflow.pyfunc`` would load it: its loader, its code, and every pickle in it."""
    return [*_declared(mlmodel), *_pickles(folder)]


def of_saved_model(folder: Path) -> list[Risk]:
    """A TensorFlow SavedModel whose graph could do more than count. Pickles beside it are never read, and left alone.

    Raises BrokenModel for a file that is cut short.
    """
    found = savedmodel.risky(folder)
    if not found:
        return []
    shown = ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
    return [Risk(savedmodel.FILE, f"has operations that reach beyond the model ({shown}), and running it runs them")]


def check_paths(folder: Path, mlmodel: Mapping[str, Any]) -> None:
    """Raises Untrusted when the MLmodel names a path outside its folder. Trust does not heal that."""
    for name, value in _flavor_items(mlmodel):
        if name in _PATHS and isinstance(value, str):
            inside(folder, value)


def skops_types(path: Path) -> tuple[str, ...]:
    """Every type and function that a skops file names: what somebody who vouches for the file vouches for."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("schema.json").file_size > _LARGEST_SCHEMA:
                raise BrokenModel(f"{path}: its schema.json unpacks to over {_LARGEST_SCHEMA} bytes")
            schema = json.loads(archive.read("schema.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BrokenModel(f"{path} is a skops file that is broken ({error}); save the model again") from error
    return tuple(sorted(set(_types(schema))))


def _declared(mlmodel: Mapping[str, Any]) -> Iterator[Risk]:
    loader = str(mlmodel.get("flavors", {}).get("python_function", {}).get("loader_module", ""))
    for name, value in _flavor_items(mlmodel):
        if name == "code" and value:
            yield Risk(str(value), "is code that comes with the model and runs when it is loaded")
        elif name == "model_code_path" and value:
            yield Risk(str(value), "is Python source that runs when the model is loaded")
    if not loader.startswith("mlflow."):
        yield Risk("MLmodel", f"has the loader {loader or 'of nobody'}, code from outside MLflow")
    elif loader not in _PLAIN_LOADERS:
        yield Risk("MLmodel", f"has the loader {loader}, which may run code that the model names")


def _pickles(folder: Path) -> Iterator[Risk]:
    for name, path in walk(folder):
        if found := _content(path):
            yield Risk(name, found)


def _content(path: Path) -> str:
    """Why the bytes of a file may run code; empty when they do not."""
    if is_pickle(path):
        return "is a pickle, and loading it runs whatever code it holds"
    if not zipfile.is_zipfile(path):
        return ""
    try:
        inner = pickles_in_zip(path)
    except zipfile.BadZipFile:
        return "is a zip archive that cannot be looked into"
    return f"holds the pickle {inner[0]}, and loading it runs whatever code it holds" if inner else ""


def _program(path: Path) -> str:
    """Why a PyTorch file may run code, which its pickles alone do not tell; empty for what is none."""
    if not zipfile.is_zipfile(path):
        return ""
    try:
        return _PROGRAMS.get(identify(path).name, "")
    except ModelError:  # what cannot be told apart is looked at byte by byte
        return ""


def _flavor_items(mlmodel: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for flavor in mlmodel.get("flavors", {}).values():
        yield from ((str(name), value) for name, value in flavor.items())


def _types(root: Any) -> Iterator[str]:
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            for module, name in (("__module__", "__class__"), ("module_path", "function")):
                if isinstance(node.get(module), str) and isinstance(node.get(name), str):
                    yield f"{node[module]}.{node[name]}"
            stack += node.values()
        elif isinstance(node, list):
            stack += node
