"""Which tools a model may call, and with what: an allow-list with a part of JSON Schema, checked when it is read.

Keywords (JSON Schema 2020-12): type, enum, const, properties, required, additionalProperties, items, minItems,
maxItems, minLength, maxLength, pattern, minimum, maximum; title and description say nothing. Every other is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _number,
    "integer": lambda value: _number(value) and float(value).is_integer(),
}


def _same(value: Any, other: Any) -> bool:
    """Equality of JSON: ``true`` is no number."""
    return bool(value == other) and isinstance(value, bool) is isinstance(other, bool)


_SILENT: Final = frozenset({"title", "description", "$schema"})
_LIMITS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "minLength": lambda value, limit: not isinstance(value, str) or len(value) >= limit,
    "maxLength": lambda value, limit: not isinstance(value, str) or len(value) <= limit,
    "minItems": lambda value, limit: not isinstance(value, list) or len(value) >= limit,
    "maxItems": lambda value, limit: not isinstance(value, list) or len(value) <= limit,
    "minimum": lambda value, limit: not _number(value) or value >= limit,
    "maximum": lambda value, limit: not _number(value) or value <= limit,
    "pattern": lambda value, limit: not isinstance(value, str) or re.search(limit, value) is not None,
    "enum": lambda value, limit: any(_same(value, one) for one in limit),
    "const": _same,
}
_KNOWN: Final = (*_LIMITS, "type", "properties", "required", "additionalProperties", "items", *_SILENT)
_MOST_TEXT: Final = 10_000
"""Characters of a text that a pattern looks at; a longer one does not pass a pattern."""


def check(schema: Any, where: str) -> None:
    """Raises UsageError for what is no schema, or one that could not be honoured."""
    if not isinstance(schema, Mapping):
        raise UsageError(f"{where} is no JSON Schema: expected an object, found {type(schema).__name__}")
    for keyword, told in schema.items():
        if keyword not in _KNOWN:
            raise UsageError(f"{where}: the keyword {keyword!r} is not honoured{nearest(keyword, list(_KNOWN))}")
        _check_one(keyword, told, where)
    for name, inner in schema.get("properties", {}).items():
        check(inner, f"{where}.properties.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            check(schema[name], f"{where}.{name}")


def _check_one(keyword: str, told: Any, where: str) -> None:
    if keyword == "type":
        for one in told if isinstance(told, list) else [told]:
            if one not in _TYPES:
                raise UsageError(f"{where}.type is {one!r}; expected one of {', '.join(_TYPES)}")
    elif keyword == "pattern":
        try:
            re.compile(told)
        except (re.error, TypeError) as error:
            raise UsageError(f"{where}.pattern is no regular expression: {error}") from None
    elif keyword in ("required", "enum") and not isinstance(told, list):
        raise UsageError(f"{where}.{keyword} must be a list")
    elif keyword == "properties" and not isinstance(told, Mapping):
        raise UsageError(f"{where}.properties must be an object")
    elif (keyword.startswith(("min", "max"))) and not _number(told):
        raise UsageError(f"{where}.{keyword} must be a number")


def holds(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value is as the schema says."""
    types = schema.get("type")
    if types is not None and not any(_TYPES[one](value) for one in (types if isinstance(types, list) else [types])):
        return False
    if "pattern" in schema and isinstance(value, str) and len(value) > _MOST_TEXT:
        return False
    if not all(test(value, schema[keyword]) for keyword, test in _LIMITS.items() if keyword in schema):
        return False
    if isinstance(value, list) and "items" in schema:
        return all(holds(schema["items"], one) for one in value)
    return not isinstance(value, dict) or _object_holds(schema, value)


def _object_holds(schema: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    properties = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    if any(name not in value for name in schema.get("required", ())):
        return False
    for name, one in value.items():
        inner = properties.get(name, more)
        if inner is False or (isinstance(inner, Mapping) and not holds(inner, one)):
            return False
    return True


class Allowed:
    """``tools``: by name the schema of the arguments, None where they may be anything. Raises UsageError."""

    def __init__(self, tools: Mapping[str, Mapping[str, Any] | None], where: str = "tools") -> None:
        for name, schema in tools.items():
            if schema is not None:
                check(schema, f"{where}.{name}.arguments")
        self._tools = dict(tools)

    def wrong(self, name: str, arguments: str) -> str:
        """Empty, or what kind of wrong a call is: ``tool`` (not on the list) or ``arguments``."""
        if name not in self._tools:
            return "tool"
        schema = self._tools[name]
        if schema is None:
            return ""
        try:
            value = json.loads(arguments or "{}", object_pairs_hook=_once)
            return "" if holds(schema, value) else "arguments"
        except (ValueError, RecursionError):
            return "arguments"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are given once: with two values of one name, readers differ on which counts."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name is given twice")
    return made
