from __future__ import annotations

import pytest
from fakes_of_guards import pii

from fairlead.serve.llm.guard.masks import Placeholders, plain_json, redacted


def test_redacted_hides_everything_whatever_the_action_is() -> None:
    from fairlead.contracts.guardrail import Action

    rules = [pii(Action.FLAG)]
    assert redacted("ann@example.com paid with 4111 1111 1111 1111", rules) == "<EMAIL> paid with <CARD>"
    assert redacted("", rules) == ""


def test_the_same_text_has_the_same_name() -> None:
    names = Placeholders()
    assert [names("email", text) for text in ("a", "b", "a")] == ["<EMAIL_1>", "<EMAIL_2>", "<EMAIL_1>"]
    assert names.back("<EMAIL_2> <EMAIL_1> <EMAIL_3>") == "b a <EMAIL_3>"


def test_what_is_masked_twice_comes_back_once() -> None:
    names = Placeholders()
    inner = names("email", "ann@example.com")
    outer = names("person", f"Ann {inner}")
    assert names.back(outer) == "Ann ann@example.com"


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ('{"a": ["x", {"x": 1}]}', '{"a": ["y", {"y": 1}]}'),
        ('{"a":1}', '{"a":1}'),
        ("no json x", "no json y"),
        ("[" * 500 + '"x"' + "]" * 500, "[" * 500 + '"y"' + "]" * 500),
        ("[" * 100_000, "[" * 100_000),
        ('"\\u0078"', '"y"'),
    ],
)
def test_strings_in_json(text: str, changed: str) -> None:
    assert plain_json(text, lambda one: one.replace("x", "y")) == changed
