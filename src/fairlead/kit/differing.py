"""Where two JSON documents differ, as a short list of places. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_KEYS = ("name", "containerPort", "port", "type")
"""Of a list of mappings that each have one of these, each its own, the members are told apart by it."""

Place = tuple[str, Any, Any]
"""Path, before and after; None: not there."""


def differences(before: Any, after: Any) -> list[Place]:
    """In the order of the paths. A member of a list is named by its key where it has one: ``containers[web].image``."""
    return sorted(_between("", before, after), key=lambda place: place[0])


def _between(path: str, before: Any, after: Any) -> Iterator[Place]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in {**before, **after}:
            yield from _between(_inside(path, str(name)), before.get(name), after.get(name))
    elif isinstance(before, list) and isinstance(after, list) and (key := _key(before, after)):
        ours, theirs = ({str(one[key]): one for one in many} for many in (before, after))
        yield from (
            place
            for name in {**ours, **theirs}
            for place in _between(f"{path}[{name}]", ours.get(name), theirs.get(name))
        )
        if ours.keys() == theirs.keys() and list(ours) != list(theirs):
            yield f"{path}[]", list(ours), list(theirs)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, pair in enumerate(zip(before, after, strict=True)):
            yield from _between(f"{path}[{place}]", *pair)
    else:
        yield path, before, after


def _inside(path: str, name: str) -> str:
    plain = name.replace("-", "").replace("_", "").isalnum()
    return f"{path}.{name}".lstrip(".") if plain else f"{path}[{name!r}]"


def _key(*lists: Sequence[Any]) -> str:
    for key in _KEYS:
        named = [[one.get(key) for one in many if isinstance(one, Mapping)] for many in lists]
        if all(
            None not in names and len(names) == len(many) == len(set(map(str, names)))
            for names, many in zip(named, lists, strict=True)
        ):
            return key
    return ""
