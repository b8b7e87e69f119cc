from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.adapters.engines.served.asking import Manner, body
from fairlead.contracts.errors import InputError
from fairlead.contracts.generation import Format, Generation, Message, Sampling, Tool, ToolCall

PLAIN = Manner("theirs")
HELLO = (Message("user", "hello"),)
NOTHING = Sampling()


def asked(sampling: Sampling = NOTHING, manner: Manner = PLAIN, **more: Any) -> dict[str, Any]:
    generation = Generation("g", "ours", **{"prompt": HELLO, "sampling": sampling, **more})
    found: dict[str, Any] = json.loads(body(generation, manner))
    return found


def test_nothing_is_said_that_was_not_asked_for() -> None:
    assert asked() == {
        "model": "theirs",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hello"}],
    }


def test_every_setting_has_its_field() -> None:
    sampling = Sampling(
        0.0,
        0.9,
        40,
        0.05,
        7,
        0.1,
        0.2,
        1.1,
        stop=("a", "b"),
        most=5,
        least=2,
        ignore_end=True,
        logprobs=3,
        bias=((9, -1.0),),
    )
    found = asked(sampling)
    assert {name: found[name] for name in found if name not in ("model", "stream", "stream_options", "messages")} == {
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "repetition_penalty": 1.1,
        "stop": ["a", "b"],
        "max_tokens": 5,
        "min_tokens": 2,
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"9": -1.0},
    }


def test_a_manner_changes_what_is_said() -> None:
    manner = Manner("m", "max_completion_tokens", True, True, True, names={"repetition_penalty": "repeat_penalty"})
    found = asked(Sampling(most=5, repetition_penalty=1.1), manner, prompt=(Message("developer", "be good"), *HELLO))
    assert found["max_completion_tokens"] == 5
    assert found["repeat_penalty"] == 1.1
    assert (found["temperature"], found["top_p"]) == (1.0, 1.0)
    assert found["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert found["messages"][0]["role"] == "developer"
    assert asked(prompt=(Message("developer", "be good"),))["messages"][0]["role"] == "system"


@pytest.mark.parametrize("prompt", ["once", (1, 2, 3)])
def test_texts_and_ids_go_on(prompt: object) -> None:
    found = asked(Sampling(logprobs=2), prompt=prompt)
    assert found["prompt"] == (prompt if isinstance(prompt, str) else [*prompt])  # type: ignore[misc]
    assert found["max_tokens"] is None
    assert found["logprobs"] == 2
    assert "messages" not in found


def test_tools_and_their_history() -> None:
    tools = (Tool("f", "does it", {"type": "object"}, strict=True), Tool("g"))
    prompt = (
        Message("user", "hi", name="Ann"),
        Message("assistant", "", calls=(ToolCall("c1", "f", "{}"),)),
        Message("tool", "42", answers="c1"),
    )
    found = asked(prompt=prompt, tools=tools, choose="f", parallel=False)
    function = {"name": "f", "description": "does it", "parameters": {"type": "object"}, "strict": True}
    assert found["tools"] == [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "g"}},
    ]
    assert found["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert found["parallel_tool_calls"] is False
    assert found["messages"] == [
        {"role": "user", "content": "hi", "name": "Ann"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    assert "tool_choice" not in asked(tools=tools)
    assert asked(tools=tools, choose="required")["tool_choice"] == "required"


def test_formats_and_adapters() -> None:
    assert asked(format=Format())["response_format"] == {"type": "json_object"}
    found = asked(format=Format("", {"type": "object"}, strict=True))["response_format"]
    assert found["json_schema"] == {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert asked(adapter="tuned")["model"] == "tuned"


def test_what_json_cannot_say_is_the_callers_error() -> None:
    with pytest.raises(InputError, match="JSON"):
        asked(prompt=(Message("user", "\ud800"),))


def test_an_answer_that_was_begun_goes_on_where_the_server_can() -> None:
    talk = (*HELLO, Message("assistant", "well"))
    can = Manner("m", resumes=True)
    found = asked(Sampling(), can, prompt=talk, resumes=True)
    assert (found["continue_final_message"], found["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in asked(Sampling(), can, prompt=talk)
    assert "continue_final_message" not in asked(Sampling(), PLAIN, prompt=talk, resumes=True)
