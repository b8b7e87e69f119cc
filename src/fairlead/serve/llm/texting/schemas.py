"""JSON Schemas that callers send: checked before an engine sees them, bounded, and put together for calls of tools.

Draft 2020-12, the part that engines hold answers to; what they would pass over in silence is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fairlead.contracts.errors import InvalidParameter
from fairlead.contracts.generation import Tool

MOST: Final = 5_000
"""Schemas, properties and values of one schema, at most."""
DEEPEST: Final = 64
_TEXT: Final = 65_536
"""Characters of all its names and texts, at most."""
_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_REFUSED: Final = (
    "not", "if", "then", "else", "dependentSchemas", "dependentRequired", "dependencies", "unevaluatedProperties",
    "unevaluatedItems", "contains", "minContains", "maxContains", "propertyNames", "uniqueItems", "$dynamicRef",
    "$recursiveRef", "contentSchema",
)  # fmt: skip
_NUMBERS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_COUNTS: Final = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_MANY: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions")
_DEFINITIONS: Final = ("$defs", "definitions")
ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}


def checked(schema: Any, where: str, held: bool = True) -> Mapping[str, Any]:
    """A sound schema. ``held``: an engine will hold an answer to it, and what no engine can is refused as well.

    Raises InvalidParameter that says what of it is wrong, and where.
    """
    if not isinstance(schema, Mapping):
        raise InvalidParameter(f"{where} is no JSON Schema: expected an object")
    _Check(schema, _REFUSED if held else ()).all(where)
    return schema


class _Check:
    """Walks one schema."""

    def __init__(self, root: Mapping[str, Any], refused: Sequence[str]) -> None:
        self._root, self._refused = root, refused
        self._left = MOST
        self._text = _TEXT

    def all(self, where: str) -> None:
        waiting: list[tuple[Any, str, int]] = [(self._root, where, 0)]
        while waiting:
            schema, at, depth = waiting.pop()
            self._count(at)
            if depth > DEEPEST:
                raise InvalidParameter(f"{at}: the schema is more than {DEEPEST} deep")
            if isinstance(schema, bool):
                continue
            if not isinstance(schema, Mapping):
                raise InvalidParameter(f"{at} is {_short(schema)}; expected a schema")
            self._one(schema, at)
            waiting += [(inner, _clipped(f"{at}.{name}"), depth + 1) for name, inner in self._inner(schema, at)]

    def _count(self, at: str, count: int = 1, text: int = 0) -> None:
        self._left -= count
        self._text -= text
        if self._left < 0:
            raise InvalidParameter(f"{at}: the schema has more than {MOST} parts")
        if self._text < 0:
            raise InvalidParameter(f"{at}: the schema has more than {_TEXT} characters of names and values")

    def _inner(self, schema: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any]]:
        for name in _NAMED:
            held = schema.get(name, {})
            if not isinstance(held, Mapping):
                raise InvalidParameter(f"{at}.{name} is {_short(held)}; expected an object of schemas")
            self._count(at, len(held), sum(map(len, held)))
            yield from ((f"{name}.{key}", one) for key, one in held.items())
        for name in _MANY:
            if name in schema:
                held = schema[name]
                if not isinstance(held, list | tuple) or not held:
                    raise InvalidParameter(f"{at}.{name} is {_short(held)}; expected a list of schemas")
                yield from ((f"{name}[{place}]", one) for place, one in enumerate(held))
        yield from ((name, schema[name]) for name in ("items", "additionalProperties") if name in schema)

    def _one(self, schema: Mapping[str, Any], at: str) -> None:
        for name in self._refused:
            if name in schema:
                raise InvalidParameter(f"{at}.{name} cannot be held to while an answer is written; leave it out")
        kinds = schema.get("type", ())
        for one in kinds if isinstance(kinds, list | tuple) else (kinds,):
            if one not in _TYPES:
                raise InvalidParameter(f"{at}.type is {_short(one)}; expected {', '.join(sorted(_TYPES))}")
        required = schema.get("required", [])
        if not isinstance(required, list | tuple) or not all(isinstance(one, str) for one in required):
            raise InvalidParameter(f"{at}.required is {_short(required)}; expected a list of names")
        if "enum" in schema:
            values = schema["enum"]
            if not isinstance(values, list | tuple) or not values:
                raise InvalidParameter(f"{at}.enum is {_short(values)}; expected a list with something in it")
            self._count(at, len(values), sum(len(one) for one in values if isinstance(one, str)))
        for name in _NUMBERS & schema.keys():
            if isinstance(schema[name], bool) or not isinstance(schema[name], int | float):
                raise InvalidParameter(f"{at}.{name} is {_short(schema[name])}; expected a number")
        for name in _COUNTS & schema.keys():
            if type(schema[name]) is not int or schema[name] < 0:
                raise InvalidParameter(f"{at}.{name} is {_short(schema[name])}; expected a whole number from 0")
        self._pattern(schema, at)
        self._reference(schema, at)

    def _pattern(self, schema: Mapping[str, Any], at: str) -> None:
        for pattern in [schema.get("pattern"), *schema.get("patternProperties", {})]:
            if pattern is None:
                continue
            if not isinstance(pattern, str) or len(pattern) > 1000:
                raise InvalidParameter(f"{at}.pattern is {_short(pattern)}; expected a text of at most 1000 characters")
            try:
                re.compile(pattern)
            except (ValueError, re.error, OverflowError, RecursionError) as error:
                raise InvalidParameter(f"{at}.pattern is {_short(pattern)}: {error}") from None

    def _reference(self, schema: Mapping[str, Any], at: str) -> None:
        seen = set()
        target: Any = schema
        while isinstance(target, Mapping) and "$ref" in target:
            reference = target["$ref"]
            if not isinstance(reference, str) or not reference.startswith("#"):
                raise InvalidParameter(
                    f"{at}.$ref is {_short(reference)}; only references within the schema are followed"
                )
            if reference in seen:
                raise InvalidParameter(f"{at}.$ref is {_short(reference)}, which leads back to itself")
            seen.add(reference)
            self._count(at)
            target = self._target(reference, at)

    def _target(self, reference: str, at: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list | tuple) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, Mapping) and name in found:
                found = found[name]
            else:
                raise InvalidParameter(f"{at}.$ref is {_short(reference)}, and there is nothing")
        return found


def of_calls(tools: Sequence[Tool]) -> dict[str, Any]:
    """What a call of one of these tools looks like: ``{"name": ..., "arguments": ...}``. Raises InvalidParameter."""
    definitions: dict[str, Any] = {}
    forms = []
    for place, tool in enumerate(tools):
        where = f"tools[{place}].function.parameters"
        schema = checked(tool.parameters if tool.parameters is not None else ANY_OBJECT, where)
        if not any(name in schema for name in ("type", "$ref", *_MANY)):
            schema = {**schema, "type": "object"}
        arguments = _moved(schema, f"tool{place}_", definitions, where)
        forms.append(
            {
                "type": "object",
                "properties": {"name": {"type": "string", "enum": [tool.name]}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    found = forms[0] if len(forms) == 1 else {"anyOf": forms}
    return {**found, "$defs": definitions} if definitions else found


def _moved(schema: Mapping[str, Any], prefix: str, definitions: dict[str, Any], where: str) -> Any:
    """A schema as a part of another: its definitions move to the top, and what refers to them follows."""

    def rewritten(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: reference(one) if name == "$ref" else rewritten(one) for name, one in value.items()}
        return [rewritten(one) for one in value] if isinstance(value, list | tuple) else value

    def reference(target: Any) -> Any:
        for name in _DEFINITIONS:
            start = f"#/{name}/"
            if isinstance(target, str) and target.startswith(start):
                return f"#/$defs/{prefix}{target.removeprefix(start)}"
        raise InvalidParameter(f"{where}: $ref is {_short(target)}; a tool's may lead to its $defs only")

    for name in _DEFINITIONS:
        for key, one in schema.get(name, {}).items():
            definitions[f"{prefix}{key}"] = rewritten(one)
    return rewritten({name: one for name, one in schema.items() if name not in _DEFINITIONS})


def _clipped(place: str) -> str:
    """A place in a schema, short enough for a sentence."""
    return place if len(place) <= 160 else f"{place[:80]}...{place[-60:]}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
