from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.adapters.engines.served.saying import Saying, chunk_of, reason_of, usage_of
from fairlead.contracts.generation import CallDelta, Piece, Usage


def pieces(*deltas: dict[str, Any], usage: dict[str, Any] | None = None) -> list[Piece | None]:
    saying = Saying("call_g_")
    found = []
    for delta in deltas:
        choice = delta if {"text", "message", "logprobs"} & set(delta) else {"delta": delta}
        chunk = chunk_of(json.dumps({"choices": [choice], "usage": usage, "new": 1}).encode())
        assert chunk.choices
        found.append(saying.piece(chunk.choices[0], chunk.usage))
    return found


def calls(*told: dict[str, Any]) -> list[CallDelta]:
    return [call for piece in pieces(*({"tool_calls": [one]} for one in told)) if piece for call in piece.calls]


def test_what_is_said() -> None:
    assert pieces(
        {"role": "assistant", "content": ""}, {"content": "a"}, {"reasoning_content": "r"}, {"refusal": "n"}
    ) == [
        None,
        Piece("a"),
        Piece(reasoning="r"),
        Piece(refusal="n"),
    ]
    assert pieces({"reasoning": "r"}, {"text": "b"}, {"message": {"content": "whole"}}) == [
        Piece(reasoning="r"),
        Piece("b"),
        Piece("whole"),
    ]


def test_tokens_are_as_many_as_the_server_says() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    assert [piece.tokens for piece in pieces({"content": "a"}, {"content": "b"}, usage=usage) if piece] == [4, 1]


@pytest.mark.parametrize(
    "told",
    [
        [{"index": 0, "id": "x", "name": "f"}, {"index": 0, "arguments": "1"}, {"index": 1, "id": "y", "name": "g"}],
        [
            {"index": 0, "id": "x", "name": "f"},
            {"index": 0, "id": "x", "arguments": "1"},
            {"index": 0, "id": "y", "name": "g"},
        ],
        [{"id": "x", "name": "f"}, {"arguments": "1"}, {"id": "y", "name": "g"}],
    ],
    ids=["as OpenAI", "all at place 0", "without places"],
)
def test_calls_of_tools_whoever_tells_them(told: list[dict[str, Any]]) -> None:
    made = [
        {**{name: one[name] for name in ("index", "id") if name in one}, "function": one}  # type: ignore[misc]
        for one in told
    ]
    assert calls(*made) == [CallDelta(0, "x", "f"), CallDelta(0, arguments="1"), CallDelta(1, "y", "g")]


def test_calls_without_ids_get_them_and_arguments_become_text() -> None:
    told = [{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "f", "arguments": {"a": 2}}}]
    assert calls(*told) == [CallDelta(0, "call_g_0", "f", '{"a":1}'), CallDelta(1, "call_g_1", "f", '{"a":2}')]


def test_logprobs_of_both_kinds() -> None:
    chat = {"delta": {"content": "a"}, "logprobs": {"content": [{"token": "a", "logprob": -1, "bytes": [97]}]}}
    (piece,) = pieces(chat)
    assert piece is not None
    assert (piece.logprobs[0].token, piece.logprobs[0].logprob, piece.logprobs[0].data) == ("a", -1.0, b"a")
    text = {
        "text": "ab",
        "logprobs": {"tokens": ["a", "b"], "token_logprobs": [None, -2], "top_logprobs": [None, {"b": -2}]},
    }
    (piece,) = pieces(text)
    assert piece is not None
    assert [one.logprob for one in piece.logprobs] == [-9999.0, -2.0]
    assert piece.logprobs[1].others == (("b", -2.0, b"b"),)
    assert piece.tokens == 2


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 5}, Usage(9, 0, 5, 0)),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(5, 4, 5, 0),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}, Usage(5, 4, 5, 0)),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}},
            Usage(0, 9, 5, 0),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 2}},
            Usage(9, 0, 3, 2),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 7}},
            Usage(9, 0, 5, 7),
        ),
        ({"prompt_tokens": 9}, None),
        ({"prompt_tokens": -1, "completion_tokens": 5}, None),
        ({"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None}, None),
    ],
)
def test_classes_of_tokens_share_nothing(told: dict[str, Any], usage: Usage | None) -> None:
    chunk = chunk_of(json.dumps({"usage": told}).encode())
    assert chunk.usage is not None
    assert usage_of(chunk.usage) == usage


def test_reasons() -> None:
    assert [reason_of(one, called=False) for one in ("stop", "length", "function_call", "eos", "abort")] == [
        "stop",
        "length",
        "tool_calls",
        "stop",
        None,
    ]
    assert reason_of("stop", called=True) == "tool_calls"


def test_failures_in_a_stream_are_seen() -> None:
    assert [chunk_of(data).failed for data in (b'{"error": null}', b'{"error": {}}', b'{"object": "error"}')] == [
        False,
        True,
        True,
    ]
