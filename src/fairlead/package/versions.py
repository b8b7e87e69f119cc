"""Compare the Python and library versions that made a model with those that run it here."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fairlead.package.manifest import Manifest

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;#]+)", re.MULTILINE)
_MAKERS = ("scikit-learn", "xgboost", "lightgbm", "catboost", "torch", "tensorflow", "keras", "onnx", "statsmodels")
"""Any difference in these may change predictions; in the others, only another major or minor version."""
_NOT_ASKED = ("mlflow", "mlflow-skinny", "pandas", "fairlead")
_FLAVOR_KEYS = {
    "sklearn_version": "scikit-learn",
    "xgb_version": "xgboost",
    "lgb_version": "lightgbm",
    "catboost_version": "catboost",
    "pytorch_version": "torch",
}
_BUILDS = {"xgboost": ("xgboost-cpu",)}
"""Distributions that install the same library."""
_LARGEST_REQUIREMENTS = 1 << 20


def installed(library: str) -> str:
    """The installed version of a distribution, or of another build of it; empty when neither is installed."""
    for name in (library, *_BUILDS.get(library, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def notes(
    made: Mapping[str, str], made_python: str, here: Callable[[str], str] = installed, python: str = ""
) -> tuple[str, ...]:
    """One sentence for each difference that may matter. ``made``: distribution name to version."""
    found = list(_differences(made, here))
    running = python or platform.python_version()
    if made_python and _minor(made_python) != _minor(running):
        found.append(f"Python {made_python} made this model, {running} runs here: unpickling may fail or differ")
    return tuple(found)


def recorded(folder: Path, mlmodel: Mapping[str, Any], manifest: Manifest | None) -> tuple[dict[str, str], str]:
    """Library versions and the Python version that a package records: manifest, then flavors, then requirements."""
    flavors = mlmodel.get("flavors", {})
    libraries: dict[str, str] = dict(_PIN.findall(_requirements(folder)))
    for flavor in flavors.values():
        for key, library in _FLAVOR_KEYS.items():
            if isinstance(flavor.get(key), str):
                libraries[library] = flavor[key]
    made_python = str(flavors.get("python_function", {}).get("python_version", ""))
    if manifest:
        libraries |= {name: str(number) for name, number in manifest.libraries.items()}
        made_python = manifest.python or made_python
    return libraries, made_python


def _differences(made: Mapping[str, str], here: Callable[[str], str]) -> Iterator[str]:
    for library, wanted in sorted(made.items()):
        running = here(library)
        if library in _NOT_ASKED or wanted == running:
            continue
        if not running:
            yield f"{library} {wanted} made this model and is not installed here: pip install {library}=={wanted}"
        elif library in _MAKERS or _minor(wanted) != _minor(running):
            yield f"{library} {wanted} made this model, {running} runs here: predictions may differ"


def _minor(text: str) -> list[str]:
    return text.split(".")[:2]


def _requirements(folder: Path) -> str:
    path = folder / "requirements.txt"
    try:
        with path.open("rb") as handle:
            return handle.read(_LARGEST_REQUIREMENTS).decode("utf-8", "replace")
    except OSError:
        return ""
