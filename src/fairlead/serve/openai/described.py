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
_JSON: Final = "application/json"
_BYTES: Final = "application/octet-stream"
_ID: Final[dict[str, Any]] = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def described(names: Sequence[str]) -> tuple[Document, Document]:
    """Paths and schemas; none where there is no such model."""
    if not names:
        return {}, {}
    kinds = [kind for kind, *_ in _BODIES.values()]
    refs, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    paths: Document = {}
    for (path, (_, title, example)), schema in zip(_BODIES.items(), refs, strict=True):
        paths[path] = {"post": _operation(path, title, schema, {"model": names[0], **example})}
    paths["/v1/responses/{id}"] = _kept("A response that is kept", "Keep it no longer")
    paths |= _batched()
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


def _kept(get: str, delete: str) -> Document:
    return {
        "parameters": [_ID],
        "get": _plain(get, ("401", "404")),
        "delete": _plain(delete, ("401", "404")),
    }


def _batched() -> Document:
    """Files and batches."""
    form = {"file": {"type": "string", "format": "binary"}, "purpose": {"type": "string", "enum": ["batch"]}}
    upload = {"schema": {"type": "object", "properties": form, "required": [*form]}}
    urls = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]
    asked = {
        "input_file_id": {"type": "string"},
        "endpoint": {"type": "string", "enum": urls},
        "completion_window": {"type": "string", "enum": ["24h"]},
    }
    metadata = {"type": ["object", "null"], "additionalProperties": {"type": "string", "maxLength": 512}}
    schema = {"type": "object", "properties": {**asked, "metadata": metadata}, "required": [*asked]}
    example = {"input_file_id": "file-1", "endpoint": urls[0], "completion_window": "24h"}
    writes, reads = ("400", "401", "403", "404", "413", "429", "503"), ("400", "401", "404")
    return {
        "/v1/files": {
            "get": _plain("Files of the caller, the newest first", reads),
            "post": _plain("A file of requests, a line each", writes, {"multipart/form-data": upload}),
        },
        "/v1/files/{id}": _kept("A file", "Remove it"),
        "/v1/files/{id}/content": {"parameters": [_ID], "get": _plain("The bytes of a file", reads, kind=_BYTES)},
        "/v1/batches": {
            "get": _plain("Batches of the caller, the newest first", reads),
            "post": _plain("A batch of a file", writes, {"application/json": {"schema": schema, "example": example}}),
        },
        "/v1/batches/{id}": {"parameters": [_ID], "get": _plain("A batch", reads)},
        "/v1/batches/{id}/cancel": {"parameters": [_ID], "post": _plain("End a batch", reads)},
    }


def _plain(summary: str, errors: Sequence[str], body: Document | None = None, *, kind: str = _JSON) -> Document:
    """An operation that answers with an object, or with bytes."""
    schema: Document = {"type": "object"} if kind == _JSON else {"type": "string", "format": "binary"}
    told = {"200": {"description": "It.", "content": {kind: {"schema": schema}}}, **_errors(errors)}
    found: Document = {"summary": summary, "tags": ["text"], "responses": told}
    return found if body is None else {**found, "requestBody": {"required": True, "content": body}}


def _errors(statuses: Sequence[str] | dict[str, str]) -> Document:
    content = {"application/json": {"schema": schemas.ref(_ERROR)}}
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}
