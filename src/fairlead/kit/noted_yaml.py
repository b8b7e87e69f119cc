"""A tree of mappings, lists and scalars as YAML whose comments say where each value comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_PLAIN = re.compile(r"[A-Za-z_/][\w./@-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


class Noted(NamedTuple):
    """A value with its comment."""

    value: Any
    note: str


def text(tree: dict[str, Any]) -> str:
    return "\n".join(_mapping(tree, "")) + "\n"


def plain(tree: Any) -> Any:
    """The same without comments."""
    if isinstance(tree, Noted):
        return plain(tree.value)
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(one) for one in tree] if isinstance(tree, list) else tree


def _mapping(tree: dict[str, Any], indent: str) -> Iterator[str]:
    for key, given in tree.items():
        value, note = given if isinstance(given, Noted) else (given, "")
        if isinstance(value, str) and _block(value):
            yield f"{indent}{_scalar(key)}: |" + (f"  # {note}" if note else "")
            yield from (f"{indent}  {line}" if line else "" for line in value.splitlines())
        elif isinstance(value, dict | list) and value and not _short(value):
            if note:
                yield f"{indent}# {note}"
            yield f"{indent}{_scalar(key)}:"
            yield from _mapping(value, f"{indent}  ") if isinstance(value, dict) else _list(value, f"{indent}  ")
        else:
            yield f"{indent}{_scalar(key)}: {_flow(value)}" + (f"  # {note}" if note else "")


def _list(items: list[Any], indent: str) -> Iterator[str]:
    for given in items:
        value, note = given if isinstance(given, Noted) else (given, "")
        if note:
            yield f"{indent}# {note}"
        if isinstance(value, dict) and value and not _short(value):
            first, *rest = _mapping(value, f"{indent}  ")
            lead = []
            while first.lstrip().startswith("#"):
                lead.append(first[2:])
                first, *rest = rest
            yield from lead
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest
        else:
            yield f"{indent}- {_flow(value)}"


def _short(value: Any) -> bool:
    """Whether it stands on one line, in braces."""
    if isinstance(value, list):
        return all(not isinstance(one, dict | list | Noted) for one in value)
    return len(value) <= 3 and all(
        not isinstance(one, dict | list | Noted) and not (isinstance(one, str) and _block(one))
        for one in value.values()
    )


def _block(text: str) -> bool:
    """Whether a text is lines that can stand as they are."""
    lines = text.splitlines()
    whole = len(lines) > 1 and text == "".join(f"{line}\n" for line in lines)
    return whole and all(line.isprintable() for line in lines) and lines[0][:1] not in ("", " ") and bool(lines[-1])


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
