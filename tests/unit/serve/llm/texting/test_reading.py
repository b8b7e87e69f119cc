"""Tokens to text: characters, stop texts, thought."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letters import Letters

from fairlead.contracts.errors import InvalidParameter
from fairlead.serve.llm.texting.detokenizing import Detokenizer
from fairlead.serve.llm.texting.stopping import Automaton, Stops
from fairlead.serve.llm.texting.thinking import Thinking


@given(st.lists(st.lists(st.integers(0, Letters().size - 1), max_size=5)), st.booleans())
def test_what_comes_put_together_is_what_all_ids_say(steps: list[list[int]], pads: bool) -> None:
    tokenizer = Letters(pads=pads)
    text = Detokenizer(tokenizer.piece, {}, pads)
    told = "".join([text.feed(one) for one in steps]) + text.end()
    assert told == tokenizer.decode([one for step in steps for one in step])


def test_half_a_character_waits() -> None:
    text = Detokenizer(Letters().piece, {}, False)
    assert [text.feed([one]) for one in "a€".encode()] == ["a", "", "", "€"]
    assert text.feed([0xE2]) == ""
    assert text.end() == "\N{REPLACEMENT CHARACTER}"


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """By the definition: the first text that is whole ends it; of those that end there the longest."""
    for end in range(1, len(text) + 1):
        found = [one for one in stops if text[:end].endswith(one)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


@given(
    st.lists(st.text("ab<", max_size=4)),
    st.lists(st.text("ab<", min_size=1, max_size=5), min_size=1, max_size=4),
)
def test_stop_texts_are_found_across_borders_and_no_more_is_held_back(parts: list[str], stops: list[str]) -> None:
    found = Stops(Automaton(stops))
    told, seen = "", ""
    for one in parts:
        told += found.feed(one)
        if found.found:
            break
        seen += one
        held = seen[len(told) :]
        assert not held or any(stop.startswith(held) for stop in stops)
    rest = found.end()
    expected, whether = naive("".join(parts), stops)
    assert (told + rest, found.found) == (expected, whether)


def test_ten_thousand_stop_texts_cost_a_character_no_more() -> None:
    automaton = Automaton([f"{one:05d}" for one in range(10_000)])
    began = time.process_time()
    found = Stops(automaton)
    assert found.feed("abc 1234 " * 2000) == ("abc 1234 " * 2000)
    assert time.process_time() - began < 5
    assert found.feed("x0999") == "x"
    assert found.feed("9y") == ""
    assert found.found


def test_too_much_to_look_for_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="65536"):
        Automaton(["x" * 40_000, "y" * 40_000])
    with pytest.raises(InvalidParameter, match="empty"):
        Automaton([""])


@pytest.mark.parametrize(
    ("text", "inside", "thought", "answer"),
    [
        ("<think>\nhm\n</think>\n\nYes", False, "hm", "Yes"),
        ("\n<think>hm</think>Yes", False, "hm", "Yes"),
        ("hm\nhm\n</think>\n\nYes", True, "hm\nhm", "Yes"),
        ("Yes <think>no</think>", False, "", "Yes <think>no</think>"),
        ("<thin", False, "", "<thin"),
        ("<think>cut", False, "cut", ""),
        ("<think>a</thin", False, "a</thin", ""),
        ("", False, "", ""),
        (" \n", False, "", " \n"),
    ],
)
def test_thought_is_told_apart(text: str, inside: bool, thought: str, answer: str) -> None:
    for size in (1, 2, 3, 100):
        thinking = Thinking(inside)
        parts = [thinking.feed(text[at : at + size]) for at in range(0, len(text), size)] + [thinking.end()]
        assert "".join(one for one, _ in parts) == thought
        assert "".join(one for _, one in parts) == answer
