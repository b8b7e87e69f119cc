"""What a model's own files say about the libraries and the Python that made it. Nothing is installed here.

Read are, in the model's folder (of a file: the folder it lies in; of a class: the one that its package lies in):
``requirements.txt`` for the libraries and ``python_env.yaml`` for the Python, both as MLflow writes them, else
``conda.yaml`` for both.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairlead.contracts.errors import BrokenModel, SourceNotFound
from fairlead.contracts.runtime import Artefact

NEEDS = {
    "sklearn": ("joblib", "pandas", "scikit-learn", "scipy", "skops"),
    "mlflow": ("mlflow-skinny|mlflow", "pandas"),
    "onnx": ("onnxruntime",),
    "xgboost": ("xgboost|xgboost-cpu",),
    "lightgbm": ("lightgbm",),
    "litert": ("ai-edge-litert",),
    "torch": ("safetensors", "torch"),
    "tensorflow": ("tensorflow|tensorflow-cpu",),
}
"""What a runtime imports, or one of several that install it. Any version will do: the model's own files say which."""
_ALWAYS = ("msgspec>=0.20", "numpy")
"""What the process of a model needs, whatever the model is."""
_LARGEST = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"=*\s*(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Requirements:
    """``lines``: normalised, in order.  ``python``: major and minor, ``3.11``.  ``folder``: where they were read."""

    lines: tuple[str, ...]
    python: str
    folder: Path

    @property
    def key(self) -> str:
        """The same for whatever makes the same environment."""
        parts = (self.python, sys.platform, platform.machine(), *self.lines)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def of(artefact: Artefact) -> Requirements:
    """Raises SourceNotFound where nothing says what the model needs, BrokenModel for what cannot be followed."""
    folder = home_of(artefact)
    for kept in _folders(folder):
        python = _python_env(kept / "python_env.yaml")
        if (kept / "requirements.txt").is_file():
            return _made(_lines(kept / "requirements.txt"), python, artefact.format, kept)
        if (kept / "conda.yaml").is_file():
            lines, other = _conda(kept / "conda.yaml")
            return _made(lines, python or other, artefact.format, kept)
    raise SourceNotFound(
        f"{folder} has no requirements.txt and no conda.yaml, so nobody says what the model needs; write a "
        "requirements.txt there, for example with scikit-learn==1.5.2 in it"
    )


def home_of(artefact: Artefact) -> Path:
    """The model's own folder. Raises SourceNotFound for a class whose package is not to be found."""
    if artefact.path is not None:
        path = Path(artefact.path).absolute()
        return path if path.is_dir() else path.parent
    package = artefact.target.partition(":")[0].partition(".")[0]
    found = importlib.util.find_spec(package)  # of a top-level name: nothing is imported
    if found is None or not (found.origin or found.submodule_search_locations):
        raise SourceNotFound(f"{artefact.target}: no module named {package!r} on the Python path")
    places = list(found.submodule_search_locations or ())
    return Path(places[0] if places else str(found.origin)).absolute().parent


def _folders(folder: Path) -> list[Path]:
    """The folder, and the MLflow folder that it or its parent is."""
    return [folder, *(one for one in (folder.parent, folder.parent.parent) if (one / "MLmodel").is_file())]


def _made(lines: Iterable[str], python: str, runtime: str, folder: Path) -> Requirements:
    asked = {_named(line): line for line in lines}
    for more in (*NEEDS.get(runtime, ()), *_ALWAYS):
        first, *others = more.split("|")
        if not any(_named(one) in asked for one in others):
            asked.setdefault(_named(first), first)
    minor = python or ".".join(platform.python_version_tuple()[:2])
    return Requirements(tuple(asked[name] for name in sorted(asked)), minor, folder)


def _lines(path: Path) -> list[str]:
    text = _read(path).replace("\\\n", " ")
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        if line:
            found.append(_checked(line, f"{path} line {number}"))
    return found


def _checked(line: str, where: str) -> str:
    """A requirement by name. What says where packages come from is the user's to say, not the model's."""
    if line.startswith("-") or " --" in line:
        raise BrokenModel(
            f"{where} is the option {line!r}, which a model may not set; put it into your own configuration of pip or "
            "uv and take it out here"
        )
    if not _NAME.match(line) or "file:" in line or re.match(r"[^\s;@]*[/\\]", line):
        raise BrokenModel(f"{where} is {line!r}; a package by name was expected, such as scikit-learn==1.5.2")
    return re.sub(r"\s+", " ", line)


def _named(line: str) -> str:
    """The distribution that a line names, in the one spelling; with its markers, which may stand in several lines."""
    found = _NAME.match(line)
    name = re.sub(r"[-_.]+", "-", found[0]).lower() if found else line
    return f"{name};{line.partition(';')[2]}" if ";" in line else name


def _python_env(path: Path) -> str:
    document = _document(path) if path.is_file() else {}
    return _minor(str(document.get("python", "")), path)


def _conda(path: Path) -> tuple[list[str], str]:
    """Its pip section, and its Python; other conda packages are refused: pip may know them by other names."""
    lines: list[str] = []
    others: list[str] = []
    python = ""
    for entry in _document(path).get("dependencies") or []:
        if isinstance(entry, dict):
            lines += [_checked(str(line), str(path)) for line in entry.get("pip") or []]
        elif str(entry).split("=")[0].strip() == "python":
            python = _minor(str(entry).partition("=")[2], path)
        elif not re.match(r"pip\b", str(entry)):
            others.append(str(entry))
    if others:
        raise BrokenModel(
            f"{path} asks for the conda packages {', '.join(others)}; write a requirements.txt beside it that names "
            "them as pip does"
        )
    return lines, python


def _minor(version: str, path: Path) -> str:
    """``3.11`` of ``3.11.7``; empty where nothing is said. Raises BrokenModel below 3.11."""
    found = _VERSION.match(version.strip())
    if found is None:
        return ""
    major, minor = int(found[1]), int(found[2])
    if (major, minor) < (3, 11):
        raise BrokenModel(
            f"{path} says Python {major}.{minor}, and an isolated environment has 3.11 or newer, as Fairlead does; "
            "serve the model without --env isolated, or save it again under a newer Python"
        )
    return f"{major}.{minor}"


def _document(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(_read(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BrokenModel(f"{path} is not readable YAML; log the model again") from error
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise BrokenModel(f"{path} has over {_LARGEST} bytes, which no list of requirements needs")
        return path.read_text()
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{path} cannot be read: {error}") from error
