"""YAML as plain data, with the line of everything in it. Safe: nothing is constructed but scalars, lists and mappings.

Scalars are read as YAML 1.2 does: ``on`` and ``yes`` are text, and only ``true`` and ``false`` are truth values. A key
is always text. A key that stands twice is an error.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from fairlead.contracts.errors import UsageError

Path = tuple[str | int, ...]
Lines = dict[Path, int]

_MOST_NODES = 20_000
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Resolves no more than it is told below."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):  # fmt: skip
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(rf"^(?:{_pattern})$"), _first)


def parse(text: str, name: str) -> tuple[Any, Lines]:
    """The data and the line of each path. ``name``: of the file, for errors. Raises UsageError."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        reading = _Reading(name)
        return (reading.data(node, ()) if node is not None else None), reading.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise UsageError(f"{where}: this is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: this is not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UsageError(f"{name}: it is nested too deeply to be a spec") from None


class _Reading:
    def __init__(self, name: str) -> None:
        self.lines: Lines = {}
        self._name = name
        self._nodes = 0
        self._open: set[int] = set()

    def data(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1
        if self._nodes > _MOST_NODES or id(node) in self._open:
            raise self._wrong(node, f"more than {_MOST_NODES} values, or an anchor inside itself; is this a spec?")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            raise self._wrong(node, f"the tag {node.tag} is not read here; leave it out")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.data(one, (*path, place)) for place, one in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._wrong(key, "a key must be a word")
            if key.tag == _TAG + "merge":
                given = self.data(value, (*path, key.value))
                merged += given if isinstance(given, list) else [given]
                continue
            if key.value in found:
                first = self.lines[*path, key.value]
                raise self._wrong(key, f"the key {key.value!r} stands twice, first in line {first}; leave one")
            self.lines[*path, key.value] = key.start_mark.line + 1
            found[key.value] = self.data(value, (*path, key.value))
        for one in merged:
            if not isinstance(one, dict):
                raise self._wrong(node, "<< takes a mapping, or a list of mappings")
            found = {**one, **found}
        return found

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        try:
            match node.tag.removeprefix(_TAG):
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                case "str" | "merge":
                    return text
        except (ValueError, KeyError):
            raise self._wrong(node, f"{text[:40]!r} is not what its tag says") from None
        raise self._wrong(node, f"the tag {node.tag} is not read here; leave it out")

    def _wrong(self, node: yaml.Node, what: str) -> UsageError:
        return UsageError(f"{self._name}:{node.start_mark.line + 1}: {what}")
