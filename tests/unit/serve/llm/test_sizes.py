"""How large a question is, about, and whose it is."""

from __future__ import annotations

import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.generation import Generation, Message
from fairlead.serve.llm.ask import Ask
from fairlead.serve.llm.sizes import prompt_tokens, tenant_of


@pytest.mark.parametrize(
    ("prompt", "counted", "tokens"),
    [
        ("x" * 40, -1, 11),
        ("", -1, 1),
        ((1, 2, 3), -1, 3),
        ((), -1, 1),
        ((Message("user", "x" * 40), Message("user", "")), -1, 18),
        ("x" * 40, 7, 7),
        ("x" * 40, 0, 1),
    ],
)
def test_tokens(prompt: str, counted: int, tokens: int) -> None:
    assert prompt_tokens(Ask(Generation("1", "m", prompt), 0.0, "r", prompt=counted)) == tokens


def test_a_tenant_is_the_callers_where_none_is_named() -> None:
    caller = Caller("ada", "key", ())
    assert tenant_of(Ask(Generation("1", "m", ""), 0.0, "r")) == ""
    assert tenant_of(Ask(Generation("1", "m", ""), 0.0, "r", caller)) == "ada"
    assert tenant_of(Ask(Generation("1", "m", ""), 0.0, "r", Caller("ada", "key", (), tenant="acme"))) == "acme"
    assert tenant_of(Ask(Generation("1", "m", "", tenant="other"), 0.0, "r", caller)) == "other"
