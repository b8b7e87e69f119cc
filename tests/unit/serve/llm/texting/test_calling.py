"""Calls of tools in what models write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.generation import CallDelta
from fairlead.serve.llm.texting.calling.parsing import FORMATS, HERMES, JSON, LLAMA3, MISTRAL, PHI, Parser, chosen

NAMES = ("weather", "add")


def read(format_: str, text: str, size: int) -> tuple[str, list[tuple[str, str]]]:
    """Text, and names with arguments, of a text that comes in pieces of this size."""
    parser = Parser(FORMATS[format_], NAMES, lambda place: f"id{place}")
    said, calls = "", []
    for one in [*(text[at : at + size] for at in range(0, len(text), size)), None]:
        for part in parser.end() if one is None else parser.feed(one):
            if isinstance(part, str):
                said += part
            elif part.id:
                assert part.place == len(calls)
                calls.append((part.name, part.arguments))
            else:
                assert part.place == len(calls) - 1
                calls[-1] = (calls[-1][0], calls[-1][1] + part.arguments)
    assert parser.calls == len(calls)
    return said, calls


BER = '{"city": "Berlin {}\\" [1]"}'
ADD = '{"a": [1, {"b": 2}]}'
BOTH = f'{{"name": "weather", "%s": {BER}}}', f'{{"name": "add", "%s": {ADD}}}'
FIRST, SECOND = (one % "arguments" for one in BOTH)
THIRD, FOURTH = (one % "parameters" for one in BOTH)
ONE = [("weather", BER)]
TWO = [("weather", BER), ("add", ADD)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("format_", "text", "said", "calls"),
    [
        ("hermes", f"<tool_call>\n{FIRST}\n</tool_call>", "", ONE),
        ("hermes", f'So.\n<tool_call>{{"arguments": {BER}, "name": "weather"}}</tool_call>', "So.", ONE),
        ("hermes", f"<tool_call>{FIRST}</tool_call>\n<tool_call>\n{SECOND}\n</tool_call>\n", "", TWO),
        ("hermes", '<tool_call>{"name": "add"}</tool_call>', "", [("add", "{}")]),
        ("hermes", '<tool_call>{"name": "add", "arguments": {"a"', "", [("add", '{"a"')]),
        ("hermes", "just <tool talk> \n", "just <tool talk> \n", []),
        ("hermes", "<tool_call>no json</tool_call>", "<tool_call>no json</tool_call>", []),
        ("hermes", '<tool_call>{"other": 1}</tool_call>', '<tool_call>{"other": 1}</tool_call>', []),
        ("hermes", "<tool_call>", "<tool_call>", []),
        ("hermes", '<tool_call>{"name": "we', '<tool_call>{"name": "we', []),
        ("llama3", f'{{"name": "weather", "parameters": {BER}}}', "", ONE),
        ("llama3", f"<|python_tag|>{THIRD}; {FOURTH}", "", TWO),
        ("llama3", '{"name": "Bob", "age": 3}', '{"name": "Bob", "age": 3}', []),
        ("llama3", '{"answer": {"x": 1}} and more', '{"answer": {"x": 1}} and more', []),
        ("llama3", 'See: {"name": "add"}', 'See: {"name": "add"}', []),
        ("llama3", "{not json", "{not json", []),
        ("mistral", f'[TOOL_CALLS][{{"name": "weather", "arguments": {BER}}}]', "", ONE),
        ("mistral", f"[TOOL_CALLS] [{FIRST}, {SECOND}]", "", TWO),
        ("mistral", f'[TOOL_CALLS]weather{BER}[TOOL_CALLS]add{{"a": [1, {{"b": 2}}]}}', "", TWO),
        ("mistral", f"[TOOL_CALLS]weather[CALL_ID]abc123xyz[ARGS]{BER}", "", ONE),
        ("mistral", "[TOOL_CALLS]what is it?", "[TOOL_CALLS]what is it?", []),
        ("phi", f'<|tool_call|>[{{"name": "weather", "arguments": {BER}}}]<|/tool_call|>', "", ONE),
        ("phi", f'functools[{{"name": "weather", "arguments": {BER}}}]', "", ONE),
        ("phi", "import functools # x", "import functools # x", []),
        ("json", f'{{"name": "weather", "arguments": {BER}}}', "", ONE),
        ("json", f'[{{"name": "weather", "arguments": {BER}}}]', "", ONE),
        ("json", f'{{"name": "weather", "arguments": {json.dumps(BER)}}}', "", ONE),
    ],
)  # fmt: skip
def test_calls(format_: str, text: str, said: str, calls: list[Any], size: int) -> None:
    assert read(format_, text, size) == (said, calls)


def test_arguments_come_as_they_are_written() -> None:
    parser = Parser(HERMES, NAMES, str)
    parts = [*parser.feed('<tool_call>{"name": "add", "arguments": {"a'), *parser.feed('": 1'), *parser.feed("}}")]
    assert parts == [
        CallDelta(0, "0", "add"),
        CallDelta(0, arguments='{"a'),
        CallDelta(0, arguments='": 1'),
        CallDelta(0, arguments="}"),
    ]


@given(
    st.sampled_from(sorted(FORMATS)), st.text('{}[]":,;\\ <>|toolcanme_TOLCARGS/functs', max_size=60), st.integers(1, 5)
)
def test_nothing_breaks_it_and_text_without_a_call_is_kept(format_: str, text: str, size: int) -> None:
    said, calls = read(format_, text, size)
    assert said == text or calls or "".join(said.split()) == "".join(text.split())


def test_a_template_tells_the_format() -> None:
    assert chosen("... <tool_call> ...") is HERMES
    assert chosen("[TOOL_CALLS]") is MISTRAL
    assert chosen("<|python_tag|>") is LLAMA3
    assert chosen("<|tool_call|>") is PHI
    assert chosen("tools") is JSON
