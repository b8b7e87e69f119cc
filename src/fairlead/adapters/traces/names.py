"""Attributes of a span by version of OpenTelemetry's conventions for generative AI: names moved between them.

Source: OpenTelemetry semantic conventions, ``gen-ai``: 1.37, and the newest of the repository of its own (2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fairlead.contracts.answered import Answered
from fairlead.contracts.generation import Usage

LATEST: Final = "latest"

_SAME: Final = {
    "operation": "gen_ai.operation.name",
    "model": "gen_ai.request.model",
    "most": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "answered_by": "gen_ai.response.model",
    "id": "gen_ai.response.id",
    "reasons": "gen_ai.response.finish_reasons",
    "kind": "gen_ai.output.type",
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "answer": "gen_ai.output.messages",
    "error": "error.type",
}
"""What both versions call the same."""

NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "1.37": {**_SAME, "provider": "gen_ai.system"},
    LATEST: {
        **_SAME,
        "provider": "gen_ai.provider.name",
        "stream": "gen_ai.request.stream",
        "first": "gen_ai.response.time_to_first_chunk",
        "cached": "gen_ai.usage.cache_read.input_tokens",
        "reasoning": "gen_ai.usage.reasoning.output_tokens",
    },
}
"""Version to what we know to its name there; what a version does not name is left out."""

OURS: Final = "fairlead."
"""Prefix of what stages told, and of what the conventions have no name for."""


def title(one: Answered) -> str:
    """The name of the span."""
    return f"{_operation(one)} {one.endpoint}"


def attributes(one: Answered, version: str) -> dict[str, Any]:
    """Of the span: strings, numbers, booleans and lists of strings. Content only where the answer brought it."""
    names = NAMES[version]
    return {names[key]: value for key, value in _known(one).items() if key in names} | _ours(one)


def _operation(one: Answered) -> str:
    return "text_completion" if isinstance(one.generation.prompt, str) else "chat"


def _known(one: Answered) -> dict[str, Any]:
    asked, usage = one.generation.sampling, one.usage or Usage()
    found: dict[str, Any] = {
        "operation": _operation(one),
        "provider": "fairlead",
        "model": one.endpoint,
        "answered_by": str(one.facts.get("model", one.endpoint)),
        "id": one.generation.id,
        "stream": one.streamed,
        "kind": "json" if one.generation.format is not None else "text",
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "input": usage.prompt,
        "output": usage.completion,
        "cached": usage.cached,
        "reasoning": usage.reasoning,
    }
    optional = {
        "most": asked.most,
        "seed": asked.seed,
        "top_k": asked.top_k or None,
        "stop": list(asked.stop) or None,
        "frequency_penalty": asked.frequency_penalty or None,
        "presence_penalty": asked.presence_penalty or None,
        "first": one.first - one.arrived if one.first else None,
    }
    found |= {key: value for key, value in optional.items() if value is not None}
    if one.failed:
        return {**found, "error": one.outcome, **_content(one)}
    return {**found, "reasons": [one.outcome], **_content(one)}


def _content(one: Answered) -> dict[str, Any]:
    """What was said, where it is told at all."""
    return {"answer": one.text} if one.text else {}


def _ours(one: Answered) -> dict[str, Any]:
    found: dict[str, Any] = {f"{OURS}request_id": one.request_id}
    if one.caller:
        found[f"{OURS}caller"] = one.caller
    return found | {OURS + name: value for name, value in told(one.facts).items()}


def told(facts: Mapping[str, object]) -> dict[str, Any]:
    """What stages told, as far as a span can have it: texts, numbers, lists of texts; counts by name with dots."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, str | bool | int | float):
            found[name] = value
        elif isinstance(value, tuple) and all(isinstance(one, str) for one in value):
            found[name] = list(value)
        elif isinstance(value, Mapping):
            found |= {f"{name}.{key}": one for key, one in value.items() if isinstance(one, str | int | float)}
    return found
