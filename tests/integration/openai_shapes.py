"""OpenAI's own description of its API, as validators: every answer and every event must be one of it."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest


@functools.cache
def _components() -> dict[str, Any]:
    found = os.environ.get("FAIRLEAD_DATA")
    if not found:
        pytest.skip("FAIRLEAD_DATA is not set: the API's own description is there")
    document = json.loads(Path(found, "specs/openai/openapi.json").read_text(encoding="utf-8"))
    components: dict[str, Any] = _nullable(document["components"])
    return components


def _nullable(value: Any) -> Any:
    """What OpenAPI 3.0 called nullable, which the description still does here and there, as JSON Schema has it."""
    if isinstance(value, list):
        return [_nullable(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _nullable(one) for key, one in value.items() if key != "nullable"}
    return {"anyOf": [found, {"type": "null"}]} if value.get("nullable") is True else found


@functools.cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": _components()}
    return jsonschema.Draft202012Validator(schema)


def check(name: str, document: Any) -> None:
    """Fails where a document is not of this schema, or has a field that the schema does not name at its top."""
    errors = [f"{error.json_path}: {error.message[:300]}" for error in _validator(name).iter_errors(document)]
    assert not errors, (name, errors[:5], document)


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream; the last one may be ``[DONE]``, which is left out. Comments are dropped."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines)
        if fields["data"] == "[DONE]":
            continue
        document = json.loads(fields["data"])
        if "event" in fields:
            assert fields["event"] == document["type"]
        found.append(document)
    return found


EVENTS = {
    "response.created": "ResponseCreatedEvent",
    "response.in_progress": "ResponseInProgressEvent",
    "response.completed": "ResponseCompletedEvent",
    "response.incomplete": "ResponseIncompleteEvent",
    "response.failed": "ResponseFailedEvent",
    "response.output_item.added": "ResponseOutputItemAddedEvent",
    "response.output_item.done": "ResponseOutputItemDoneEvent",
    "response.content_part.added": "ResponseContentPartAddedEvent",
    "response.content_part.done": "ResponseContentPartDoneEvent",
    "response.output_text.delta": "ResponseTextDeltaEvent",
    "response.output_text.done": "ResponseTextDoneEvent",
    "response.refusal.delta": "ResponseRefusalDeltaEvent",
    "response.refusal.done": "ResponseRefusalDoneEvent",
    "response.reasoning_text.delta": "ResponseReasoningTextDeltaEvent",
    "response.reasoning_text.done": "ResponseReasoningTextDoneEvent",
    "response.function_call_arguments.delta": "ResponseFunctionCallArgumentsDeltaEvent",
    "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDoneEvent",
}
