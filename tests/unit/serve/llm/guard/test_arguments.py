from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from fairlead.contracts.errors import UsageError
from fairlead.serve.llm.guard.arguments import Allowed, check, holds

SCHEMAS = [
    {"type": "object", "properties": {"q": {"type": "string", "minLength": 2}}, "required": ["q"]},
    {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 3}},
        "additionalProperties": False,
    },
    {"type": ["array", "null"], "items": {"enum": ["a", 1, None]}, "maxItems": 2, "minItems": 1},
    {"const": True},
    {"pattern": "^a+$", "maxLength": 3},
    {"additionalProperties": {"type": "number"}},
]
VALUES = [
    {}, {"q": "x"}, {"q": "xy"}, {"q": 3}, {"n": 1}, {"n": 1.0}, {"n": 1.5}, {"n": 4}, {"n": True}, {"n": 2, "m": 1},
    [], ["a"], ["a", 1, "a"], [True], [None], None, True, 1, "a", "aaaa", "b", {"x": 1.5}, {"x": "1"},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_as_the_reference_says(schema: dict) -> None:
    check(schema, "s")
    reference = Draft202012Validator(schema)
    for value in VALUES:
        assert holds(schema, value) is reference.is_valid(value), value


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ([], "is no JSON Schema"),
        ({"typ": "object"}, "'typ' is not honoured; did you mean type?"),
        ({"type": "text"}, "s.type is 'text'"),
        ({"pattern": "("}, "no regular expression"),
        ({"properties": {"a": {"oneOf": []}}}, "s.properties.a: the keyword 'oneOf' is not honoured"),
        ({"required": "a"}, "must be a list"),
        ({"maximum": "1"}, "must be a number"),
    ],
)
def test_a_schema_that_could_not_be_honoured_is_refused(schema: object, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        check(schema, "s")


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ('{"q": "xy"}', ""),
        ('{"q": "x"}', "arguments"),
        ('{"q": "xy", "q": "rm"}', "arguments"),
        ("{", "arguments"),
        ("", "arguments"),
        ("[" * 100_000, "arguments"),
    ],
)
def test_calls(arguments: str, wrong: str) -> None:
    allowed = Allowed({"f": SCHEMAS[0], "g": None})
    assert allowed.wrong("f", arguments) == wrong
    assert allowed.wrong("g", arguments) == ""
    assert allowed.wrong("h", arguments) == "tool"
