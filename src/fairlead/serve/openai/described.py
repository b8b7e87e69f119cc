"""These routes in the server's OpenAPI document: bodies as the decoders have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from fairlead.serve import schemas
from fairlead.serve.openai import chat, completions, embeddings, responses, tokenizing
from fairlead.serve.schemas import Document

_HELLO: Final = "Say hello in one short sentence."
_BODIES: Final[dict[str, tuple[type, str, dict[str, Any]]]] = {
    "/v1/chat/completions": (chat.Body, "Chat", {"messages": [{"role": "user", "content": _HELLO}]}),
    "/v1/completions": (completions.Body, "Completions", {"prompt": "Once upon a time", "max_tokens": 16}),
    "/v1/responses": (responses.Body, "Responses", {"input": _HELLO}),
    "/v1/embeddings": (embeddings.Body, "Embeddings", {"input": [_HELLO]}),
    "/tokenize": (tokenizing.Body, "Tokens of a text (vLLM)", {"prompt": _HELLO}),
    "/detokenize": (tokenizing.Ids, "The text of tokens (vLLM)", {"tokens": [1, 2]}),
}
_STREAMS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
_ERRORS: Final = {
    "400": "A value that is not taken; param names it.",
    "401": "Nobody known.",
    "403": "Not for this caller.",
    "404": "No such model, or not for this caller.",
    "413": "The body is over the limit.",
    "429": "Over a limit or a budget, or the queue is full; try again after Retry-After seconds.",
    "500": "The server failed; its log has the cause under the request id.",
    "503": "Not ready, overloaded, or the engine is down.",
    "504": "The time was over before the answer was whole.",
}
_ERROR: Final = "OpenAIError"


def described(names: Sequence[str]) -> tuple[Document, Document]:
    """Paths and schemas; none where there is no such model."""
    if not names:
        return {}, {}
    kinds = [kind for kind, *_ in _BODIES.values()]
    refs, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    paths: Document = {}
    for (path, (_, title, example)), schema in zip(_BODIES.items(), refs, strict=True):
        paths[path] = {"post": _operation(path, title, schema, {"model": names[0], **example})}
    paths["/v1/responses/{id}"] = _kept()
    found = {name: _bare(schema) for name, schema in components.items()}
    told = {"type": "object", "properties": {"message": {"type": "string"}, "type": {"type": "string"}}}
    told["properties"] |= {name: {"type": ["string", "null"]} for name in ("param", "code")}  # type: ignore[operator]
    told["required"] = ["message", "type", "param", "code"]
    found[_ERROR] = {"type": "object", "properties": {"error": told}, "required": ["error"]}
    return paths, found


def _bare(value: Any) -> Any:
    """Without what docstrings say, which is for readers of the code."""
    if isinstance(value, list):
        return [_bare(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _bare(one) for key, one in value.items() if not (key == "description" and isinstance(one, str))}


def _operation(path: str, title: str, schema: Document, example: Document) -> Document:
    content: Document = {"application/json": {"schema": {"type": "object"}}}
    if path in _STREAMS:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "summary": f"{title}, as OpenAI has it" if path.startswith("/v1/") else title,
        "tags": ["text"],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in ("RequestId", "Timeout", "Priority")],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {"200": {"description": "The answer.", "content": content}, **_errors(_ERRORS)},
    }


def _kept() -> Document:
    one = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    content = {"application/json": {"schema": {"type": "object"}}}
    told = {"200": {"description": "It.", "content": content}, **_errors(("401", "404"))}
    return {
        "parameters": [one],
        "get": {"summary": "A response that is kept", "tags": ["text"], "responses": told},
        "delete": {"summary": "Keep it no longer", "tags": ["text"], "responses": told},
    }


def _errors(statuses: Sequence[str] | dict[str, str]) -> Document:
    content = {"application/json": {"schema": schemas.ref(_ERROR)}}
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}
