"""The objects of a deployment: read from files, checked, and put into the order in which they can be made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from fairlead.contracts.errors import UsageError
from fairlead.contracts.target import Body

SUFFIXES: Final = (".yaml", ".yml", ".json")
LARGEST: Final = 16 * 2**20
"""Bytes of one file."""

FIRST: Final = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "ResourceQuota",
    "LimitRange",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "NetworkPolicy",
    "ServingRuntime",
    "Service",
    "PodDisruptionBudget",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "InferenceService",
)
"""Kinds that others stand on, in the order in which they are made; every other kind comes after them."""

BASES: Final = ("Namespace", "CustomResourceDefinition")
"""Kinds without which the next object cannot even be asked for."""


class _Loader(yaml.SafeLoader):
    """Dates stay text, as kubectl reads them: JSON has none."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read(paths: Sequence[Path]) -> list[Body]:
    """Every object of some files, and of folders those with a known suffix, in the order to make them in.

    Raises UsageError for what is no object, is there twice, or is nowhere, with the file and the place in it.
    """
    found = [(place, one) for path in paths for file in _files(path) for place, one in _documents(file)]
    if not found:
        raise UsageError(f"no objects in {', '.join(map(str, paths))}; `fairlead render kubernetes` writes them")
    _twice(found)
    return ordered([body for _, body in found])


def ordered(bodies: Iterable[Body]) -> list[Body]:
    """In the order to make them in; those of one kind as they were given."""
    places = {kind: place for place, kind in enumerate(FIRST)}
    return sorted(bodies, key=lambda body: places.get(body["kind"], len(FIRST)))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and one.is_file())
    if not path.is_file():
        raise UsageError(f"{path} is not there; name files or a folder of objects")
    return [path]


def _documents(path: Path) -> list[tuple[str, Body]]:
    if path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is larger than {LARGEST >> 20} MiB; that is no file of objects")
    try:
        documents = list(yaml.load_all(path.read_bytes(), Loader=_Loader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        at = f":{where.line + 1}" if where else ""
        raise UsageError(f"{path}{at}: not YAML: {getattr(error, 'problem', None) or 'it does not parse'}") from None
    found: list[tuple[str, Body]] = []
    for number, document in enumerate(documents, 1):
        if document is not None:
            place = f"{path}, document {number}"
            found += [(place, _object(one, place)) for one in _members(document)]
    return found


def _members(document: Any) -> list[Any]:
    """A ``List`` is its items."""
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        return list(document["items"])
    return [document]


def _object(body: Any, place: str) -> Body:
    if isinstance(body, dict) and "endpoints" in body and "kind" not in body:
        raise UsageError(f"{place}: a spec of Fairlead; make objects of it with `fairlead render kubernetes`")
    if not isinstance(body, dict) or not isinstance(body.get("metadata"), dict):
        raise UsageError(f"{place}: no object: apiVersion, kind and metadata.name are needed")
    needed = {
        "apiVersion": body.get("apiVersion"),
        "kind": body.get("kind"),
        "metadata.name": body["metadata"].get("name"),
    }
    for field, value in needed.items():
        if not isinstance(value, str) or not value:
            raise UsageError(f"{place}: {field} is {value!r}; expected a name")
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError) as error:  # as of !!binary, !!set or .inf
        raise UsageError(f"{place}: {error}; say it as text, a number, a list or a mapping") from None
    return body


def _twice(found: Sequence[tuple[str, Body]]) -> None:
    seen: dict[tuple[str, ...], str] = {}
    for place, body in found:
        name = body["metadata"]
        key = (body["apiVersion"].partition("/")[0], body["kind"], name.get("namespace", ""), name["name"])
        if key in seen:
            raise UsageError(f"{place}: {body['kind']}/{name['name']} is in {seen[key]} already; leave one of them out")
        seen[key] = place
