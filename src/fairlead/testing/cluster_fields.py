"""Fields of objects by their path, as server-side apply tells them apart; for ``fairlead.testing.cluster``.

Lists of mappings with a name each are told apart by it, other lists are one value. Source: Kubernetes documentation,
"Server-Side Apply".
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

Path = tuple[Any, ...]
"""Names of fields; ``("name", NAME)`` for a member of a list."""

Manager = tuple[str, str]
"""Name and operation: what one has applied and what the same has written otherwise are two sets of fields."""

_ATOMIC = ("rules", "egress", "ingress", "parentRefs")
_LEFT = {("apiVersion",), ("kind",)}
_OWN = ("name", "namespace", "resourceVersion", "uid", "generation", "creationTimestamp", "managedFields")


def flat(body: Mapping[str, Any]) -> dict[Path, Any]:
    """What a manager says; what only the server says is left out."""
    found = dict(_flat((), {key: value for key, value in body.items() if key != "status"}))
    return {path: value for path, value in found.items() if path not in _LEFT and not _server(path)}


def shown(path: Path) -> str:
    """As server-side apply writes it: ``.spec.containers[name="server"].image``."""
    return "".join(f'[{one[0]}="{one[1]}"]' if isinstance(one, tuple) else f".{one}" for one in path)


def managed(managers: Mapping[Manager, set[Path]]) -> list[dict[str, Any]]:
    """As ``metadata.managedFields`` (``FieldsV1``) says it."""
    found = []
    for (name, operation), paths in managers.items():
        tree: dict[str, Any] = {}
        for path in sorted(paths, key=str):
            at = tree
            for step in path:
                at = at.setdefault(f"k:{json.dumps(dict([step]))}" if isinstance(step, tuple) else f"f:{step}", {})
            at["."] = {}
        found.append({"manager": name, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": tree})
    return found


def managers(said: list[dict[str, Any]]) -> dict[Manager, set[Path]]:
    """The same, read; those of subresources are left out."""
    return {
        (one["manager"], one["operation"]): set(_paths((), one["fieldsV1"]))
        for one in said
        if not one.get("subresource")
    }


def put(body: dict[str, Any], path: Path, value: Any) -> None:
    at: Any = body
    for step, after in pairwise(path):
        at = _inside(at, step, [] if isinstance(after, tuple) else {})
    last = path[-1]
    if isinstance(last, tuple):
        _inside(at, last, {})
    else:
        at[last] = copy.deepcopy(value)


def drop(body: dict[str, Any], path: Path) -> None:
    """Take a field away, and what is empty without it."""
    trail: list[tuple[Any, Any]] = []
    at: Any = body
    for step in path:
        trail.append((at, step))
        at = _get(at, step)
        if at is None:
            return
    for holder, step in reversed(trail):
        if isinstance(step, tuple):
            member = _get(holder, step)
            if set(member) <= {step[0]}:
                holder.remove(member)
        elif holder is trail[-1][0] or holder[step] in ({}, []):
            del holder[step]
        else:
            break


def _flat(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat((*path, key), inner)
    elif isinstance(value, list) and _named(path, value):
        for one in value:
            yield from _flat((*path, ("name", one["name"])), one)
    else:
        yield path, value


def _paths(path: Path, tree: Mapping[str, Any]) -> Iterator[Path]:
    for name, inner in tree.items():
        if name == ".":
            yield path
        elif name.startswith("k:"):
            yield from _paths((*path, *json.loads(name[2:]).items()), inner)
        else:
            yield from _paths((*path, name[2:]), inner)


def _named(path: Path, value: list[Any]) -> bool:
    return bool(value) and path[-1] not in _ATOMIC and all(isinstance(one, dict) and one.get("name") for one in value)


def _server(path: Path) -> bool:
    return len(path) > 1 and path[0] == "metadata" and path[1] in _OWN


def _get(at: Any, step: Any) -> Any:
    if isinstance(step, tuple):
        return next((one for one in at if one.get(step[0]) == step[1]), None)
    return at.get(step)


def _inside(at: Any, step: Any, fresh: Any) -> Any:
    found = _get(at, step)
    if found is None:
        found = {step[0]: step[1]} if isinstance(step, tuple) else fresh
        if isinstance(step, tuple):
            at.append(found)
        else:
            at[step] = found
    return found
