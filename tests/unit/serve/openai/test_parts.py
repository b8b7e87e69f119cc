"""What is kept, what is a schema, what an error is called."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.contracts.errors import RateLimited
from fairlead.contracts.generation import Message, ToolCall
from fairlead.serve.edges.status import STATUS
from fairlead.serve.openai import grammars, refusals
from fairlead.serve.openai.items import Item, conversation
from fairlead.serve.openai.kept import Kept, Shelf
from fairlead.serve.openai.refusals import Gone, Invalid


def kept(size: int) -> Kept:
    return Kept(b"x" * size, ())


def test_a_shelf_is_bounded_by_number_and_by_size() -> None:
    shelf = Shelf(3, 100)
    for at in range(5):
        shelf.put("me", str(at), kept(10))
    for at in (0, 1):
        with pytest.raises(Gone):
            shelf.get("me", str(at), "response_id")
    assert shelf.get("me", "4", "response_id").document == b"x" * 10
    shelf.put("me", "large", kept(95))
    with pytest.raises(Gone):
        shelf.get("me", "4", "response_id")
    shelf.put("me", "too large", kept(200))
    with pytest.raises(Gone):
        shelf.get("me", "too large", "response_id")
    shelf.put("me", "again", kept(50))
    shelf.put("me", "again", kept(60))
    assert shelf._size == 60
    with pytest.raises(Gone):
        shelf.get("you", "again", "response_id")
    shelf.forget("me", "again")
    assert shelf._size == 0
    with pytest.raises(Invalid):
        Shelf(0).get("me", "again", "response_id")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": ["string", "null"], "pattern": "^a+$", "maxLength": 3},
        {"$defs": {"a/b": {"type": "object"}}, "properties": {"x": {"$ref": "#/$defs/a~1b"}}, "required": ["x"]},
        {"items": [{"type": "string"}, True], "additionalProperties": False, "unknown": {"type": 5}},
        {"anyOf": [{"type": "string"}, {"$ref": "#/anyOf/0"}], "minimum": -1.5, "enum": ["a", 1]},
        {"patternProperties": {"^x": {"type": "integer"}}},
    ],
)
def test_what_is_a_schema(schema: dict[str, Any]) -> None:
    grammars.check(schema, "p", "k")


@pytest.mark.parametrize(
    "schema",
    [
        {"items": 5},
        {"type": []},
        {"pattern": 5},
        {"patternProperties": {"(": {}}},
        {"allOf": {}},
        {"$ref": "#/anyOf/7"},
        {"$ref": 5},
        {"maxLength": True},
        {"multipleOf": None},
        {"properties": {"a": {"properties": {"b": "x"}}}},
    ],
)
def test_what_is_none(schema: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        grammars.check(schema, "p", "k")
    assert (caught.value.param, caught.value.kind) == ("p", "k")


def test_every_error_of_a_call_has_a_name() -> None:
    for code, status in STATUS.items():
        assert code in refusals.KINDS or status in (499, 500, 503, 504), code
    quota = RateLimited("x")
    quota.kind = "quota"
    assert refusals.told(quota)["code"] == "insufficient_quota"
    quota.kind = "concurrency"
    assert refusals.told(quota)["type"] == "rate_limit_error"


def test_calls_join_the_turn_that_made_them() -> None:
    items = [
        Item(role="user", content="hi"),
        Item(role="assistant", content="let me look"),
        Item(type="function_call", call_id="a", name="f", arguments="{}"),
        Item(type="function_call", call_id="b", name="g", arguments="{}"),
        Item(type="function_call_output", call_id="b", output="ok"),
    ]
    *_, said, answered = conversation(items, (Message("user", "before"),))
    assert [one.name for one in said.calls] == ["f", "g"]
    assert (said.content, answered.role, answered.answers) == ("let me look", "tool", "b")
    (call,) = conversation([items[2]], ())
    assert (call.role, call.content) == ("assistant", "")


def test_arguments_of_calls_and_letters_of_all_scripts_count_as_memory() -> None:
    called = Message("assistant", "", calls=(ToolCall("1", "search", "x" * 50_000),))
    assert Kept(b"", (called,)).size >= 50_000
    assert Kept(b"", (Message("user", "\u6c34" * 1000),)).size >= 2000
    shelf = Shelf(1000, 100_000)
    for at in range(10):
        shelf.put("me", str(at), Kept(b"", (called,)))
    assert len(shelf._held) == 1
