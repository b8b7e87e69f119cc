"""JSON Schemas of callers: sound, bounded, and put together for calls."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from fairlead.contracts.errors import InvalidParameter
from fairlead.contracts.generation import Tool
from fairlead.serve.llm.texting import schemas


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return found


GOOD: list[dict[str, Any]] = [
    {},
    {"properties": {"a": {"type": ["string", "null"], "pattern": "^a+$", "maxLength": 3}}, "required": ["a"]},
    {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}},
    {"anyOf": [{"enum": [1, "x", None]}, {"const": 2}], "additionalProperties": False},
    {"type": "array", "prefixItems": [{"type": "integer", "minimum": 0}], "items": False, "minItems": 1},
    deep(60),
]  # fmt: skip

BAD: list[tuple[Any, str]] = [
    ([], "no JSON Schema"),
    ({"type": "text"}, "schema.type is 'text'"),
    ({"type": 3}, "schema.type is 3"),
    ({"properties": []}, "schema.properties"),
    ({"properties": {"a": 3}}, "schema.properties.a is 3"),
    ({"required": "a"}, "schema.required"),
    ({"enum": []}, "schema.enum"),
    ({"anyOf": {}}, "schema.anyOf"),
    ({"minimum": "1"}, "schema.minimum"),
    ({"maxLength": -1}, "schema.maxLength"),
    ({"pattern": "("}, "schema.pattern"),
    ({"pattern": "a" * 2000}, "1000 characters"),
    ({"$ref": "https://example.com/x"}, "within the schema"),
    ({"$ref": "#/$defs/none"}, "there is nothing"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "back to itself"),
    ({"not": {}}, "schema.not cannot be held"),
    ({"items": {"if": {}}}, "schema.items.if"),
    (deep(70), "deep"),
    ({"properties": {str(one): {} for one in range(6000)}}, "more than 5000 parts"),
    ({"enum": ["x" * 70_000]}, "characters of names"),
]


@pytest.mark.parametrize("schema", GOOD)
def test_sound(schema: dict[str, Any]) -> None:
    assert schemas.checked(schema, "schema") is schema


@pytest.mark.parametrize(("schema", "told"), BAD)
def test_what_is_wrong_is_told(schema: Any, told: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        schemas.checked(schema, "schema")
    assert told in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_no_engine_holds_is_sound_where_nothing_is_held() -> None:
    schemas.checked({"not": {"type": "null"}}, "schema", held=False)


def test_calls_of_tools_are_a_schema_with_definitions_of_its_own() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "x": {"type": "integer"}}}
    first = Tool(
        "first", "", {"type": "object", "properties": {"n": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    )
    second = Tool(
        "second", "", {"properties": {"s": {"$ref": "#/definitions/node"}}, "definitions": {"node": {"type": "string"}}}
    )
    schema = schemas.of_calls([first, second, Tool("third")])
    jsonschema.Draft202012Validator.check_schema(schema)
    holds = jsonschema.Draft202012Validator(schema).is_valid
    assert holds({"name": "first", "arguments": {"n": {"next": {"x": 1}}}})
    assert not holds({"name": "first", "arguments": {"n": {"next": {"x": "1"}}}})
    assert holds({"name": "second", "arguments": {"s": "x"}})
    assert not holds({"name": "second", "arguments": {"s": {}}})
    assert holds({"name": "third", "arguments": {}})
    assert not holds({"name": "fourth", "arguments": {}})
    with pytest.raises(InvalidParameter, match="may lead to its"):
        schemas.of_calls([Tool("f", "", {"properties": {"a": {"$ref": "#"}}})])
