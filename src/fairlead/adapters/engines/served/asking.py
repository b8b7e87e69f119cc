"""What a question is in the words of OpenAI's API: path and body of a request that streams its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fairlead.contracts.errors import InputError
from fairlead.contracts.generation import Generation, Message, Sampling

_DEFAULTS: Final = Sampling()
_PLAIN: Final = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")
_MORE: Final = {
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "least": "min_tokens",
    "ignore_end": "ignore_eos",
}
"""What is in no description of OpenAI's, by the names that vLLM and SGLang gave it."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Manner:
    """How one server wants to be asked. ``model``: its name there.  ``most``: the field for the length of an answer.

    ``developer``: it knows that role; else what it says is said by ``system``.
    ``defaults``: temperature and top_p are said also where the caller named none: else the server's own hold.
    ``each``: usage is wanted with every piece (``continuous_usage_stats`` of vLLM).  ``names``: of fields, where other.
    ``resumes``: it goes on with an answer that was begun where it is asked to (``continue_final_message`` of vLLM).
    """

    model: str
    most: str = "max_tokens"
    developer: bool = False
    defaults: bool = False
    each: bool = False
    resumes: bool = False
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, ours: str) -> str:
        return self.names.get(ours, ours)


def talks(asked: Generation) -> bool:
    """Whether it is a conversation; else a text to go on with."""
    return not isinstance(asked.prompt, str) and bool(asked.prompt) and isinstance(asked.prompt[0], Message)


def body(asked: Generation, manner: Manner) -> bytes:
    """Raises InputError for what JSON cannot say."""
    asked_for: dict[str, Any] = {
        "model": asked.adapter or manner.model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if manner.each:
        asked_for["stream_options"]["continuous_usage_stats"] = True
    if talks(asked):
        asked_for["messages"] = messages(asked, manner)
        _tools(asked, asked_for)
        if asked.resumes and manner.resumes:
            asked_for |= {"continue_final_message": True, "add_generation_prompt": False}
    else:
        asked_for["prompt"] = asked.prompt
    _sampling(asked.sampling, asked_for, manner, chat="messages" in asked_for)
    if asked.format is not None:
        asked_for["response_format"] = _format(asked)
    try:
        return _encode(asked_for)
    except (UnicodeEncodeError, ValueError, TypeError) as error:
        raise InputError(f"what is asked cannot be written as JSON: {error}") from None


def messages(asked: Generation, manner: Manner) -> list[dict[str, Any]]:
    """A conversation, as the API has it."""
    return [_message(one, manner) for one in asked.prompt if isinstance(one, Message)]


def tools(asked: Generation) -> list[dict[str, Any]]:
    """The functions that may be called."""
    found = []
    for tool in asked.tools:
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        if tool.parameters is not None:
            function["parameters"] = tool.parameters
        if tool.strict:
            function["strict"] = True
        found.append({"type": "function", "function": function})
    return found


def _message(one: Message, manner: Manner) -> dict[str, Any]:
    role = "system" if one.role == "developer" and not manner.developer else one.role
    told: dict[str, Any] = {"role": role, "content": one.content}
    if one.name:
        told["name"] = one.name
    if one.answers:
        told["tool_call_id"] = one.answers
    if one.calls:
        told["content"] = one.content or None
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in one.calls
        ]
    return told


def _tools(asked: Generation, told: dict[str, Any]) -> None:
    if not asked.tools:
        return
    told["tools"] = tools(asked)
    if asked.choose in ("none", "required"):
        told["tool_choice"] = asked.choose
    elif asked.choose != "auto":
        told["tool_choice"] = {"type": "function", "function": {"name": asked.choose}}
    if not asked.parallel:
        told["parallel_tool_calls"] = False


def _sampling(sampling: Sampling, told: dict[str, Any], manner: Manner, *, chat: bool) -> None:
    if sampling is not _DEFAULTS:
        for name in _PLAIN:
            value = getattr(sampling, name)
            if value != getattr(_DEFAULTS, name):
                told[name] = value
        for ours, theirs in _MORE.items():
            value = getattr(sampling, ours)
            if value != getattr(_DEFAULTS, ours):
                told[manner.name(theirs)] = value
        if sampling.stop:
            told["stop"] = sampling.stop
        if sampling.bias:
            told["logit_bias"] = {str(token): value for token, value in sampling.bias}
        if sampling.logprobs is not None:
            told.update(
                {"logprobs": True, "top_logprobs": sampling.logprobs} if chat else {"logprobs": sampling.logprobs}
            )
    if manner.defaults:
        told["temperature"], told["top_p"] = sampling.temperature, sampling.top_p
    if sampling.most is not None:
        told[manner.most if chat else "max_tokens"] = sampling.most
    elif not chat:
        told["max_tokens"] = None  # where it is left out, 16 is meant


def _format(asked: Generation) -> dict[str, Any]:
    wanted = asked.format
    if wanted is None or wanted.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name or "answer", "schema": wanted.schema}
    if wanted.strict:
        schema["strict"] = True
    return {"type": "json_schema", "json_schema": schema}
