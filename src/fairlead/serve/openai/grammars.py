"""Whether a JSON Schema is one, before an engine builds a grammar of it: its words, its references, its size.

JSON Schema 2020-12, as far as engines read it. Keywords that are not known are left alone, as the standard says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from fairlead.serve.openai.refusals import Invalid

DEEPEST: Final = 32
MOST_NODES: Final = 10_000
TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")

_SCHEMAS: Final = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedProperties"}
    | {"unevaluatedItems", "additionalItems"}
)
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_COUNTS: Final = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"}
)
_NUMBERS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


def check(schema: dict[str, Any], param: str, kind: str) -> None:
    """Raises Invalid, with ``param`` and ``kind``, that says where it is none."""

    def wrong(where: str, why: str) -> Invalid:
        place = f" at '{where}'" if where else ""
        return Invalid(f"Invalid schema for '{param}'{place}: {why}.", param, kind)

    _Walk(schema, wrong).walk(schema, "", 0)


class _Walk:
    def __init__(self, root: dict[str, Any], wrong: Callable[[str, str], Invalid]) -> None:
        self._root = root
        self._wrong = wrong
        self._nodes = 0

    def walk(self, schema: Any, where: str, depth: int) -> None:
        self._nodes += 1
        if depth > DEEPEST:
            raise self._wrong(where[:200], f"it nests deeper than {DEEPEST} levels")
        if self._nodes > MOST_NODES:
            raise self._wrong("", f"it has more than {MOST_NODES} parts")
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise self._wrong(where[:200], "a schema is an object or a boolean")
        for key, value in schema.items():
            self._keyword(key, value, f"{where}/{key}", depth)

    def _keyword(self, key: str, value: Any, at: str, depth: int) -> None:
        if key in _SCHEMAS:
            self._one(key, value, at, depth)
        elif key in _LISTS:
            if not isinstance(value, list) or not value:
                raise self._wrong(at, f"'{key}' is an array of schemas that is not empty")
            for index, one in enumerate(value):
                self.walk(one, f"{at}/{index}", depth + 1)
        elif key in _MAPS:
            if not isinstance(value, dict):
                raise self._wrong(at, f"'{key}' is an object of schemas")
            for name, one in value.items():
                if key == "patternProperties":
                    self._pattern(name, at)
                self.walk(one, f"{at}/{name}", depth + 1)
        else:
            self._value(key, value, at)

    def _one(self, key: str, value: Any, at: str, depth: int) -> None:
        if key == "items" and isinstance(value, list):  # as drafts before 2020-12 had it
            for index, one in enumerate(value):
                self.walk(one, f"{at}/{index}", depth + 1)
        else:
            self.walk(value, at, depth + 1)

    def _value(self, key: str, value: Any, at: str) -> None:
        if key in ("type", "required", "enum"):
            self._words(key, value, at)
        elif key in _COUNTS:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise self._wrong(at, f"'{key}' is a count, 0 or more")
        elif key in _NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._wrong(at, f"'{key}' is a number")
        elif key == "pattern":
            self._pattern(value, at)
        elif key in ("$ref", "$dynamicRef"):
            self._reference(value, at)

    def _words(self, key: str, value: Any, at: str) -> None:
        if key == "type":
            names = value if isinstance(value, list) else [value]
            if not names or not all(isinstance(one, str) and one in TYPES for one in names):
                raise self._wrong(at, f"{str(value)[:60]!r} is no type; types are {', '.join(TYPES)}")
        elif key == "enum":
            if not isinstance(value, list) or not value:
                raise self._wrong(at, "'enum' is an array that is not empty")
        elif not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._wrong(at, "'required' is an array of names")
        elif len(set(value)) != len(value):
            raise self._wrong(at, "'required' names a property twice")

    def _pattern(self, value: Any, at: str) -> None:
        if not isinstance(value, str) or len(value) > 2000:
            raise self._wrong(at, "a pattern is a text of at most 2,000 characters")
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise self._wrong(at, f"{value[:60]!r} is no regular expression ({error})") from None

    def _reference(self, value: Any, at: str) -> None:
        if not isinstance(value, str) or not value.startswith("#"):
            raise self._wrong(at, "a reference stays inside the schema, as '#/$defs/NAME' does")
        found: Any = self._root
        for part in value[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and len(key) < 6 and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                raise self._wrong(at, f"there is nothing at {value[:80]!r}")
