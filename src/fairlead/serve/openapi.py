"""The OpenAPI 3.1 document of what this server answers, with the live endpoints' own names, types and examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from fairlead import __version__
from fairlead.serve import examples, schemas
from fairlead.serve.edges import metadata
from fairlead.serve.examples import Described

Document = dict[str, Any]

_ASKED: Final = ("RequestId", "Timeout", "Priority", "Key")
"""Headers that a call may have."""
_ERRORS: Final = {
    "400": "The request does not fit the model: the sentence names the field, what was expected and what was found.",
    "404": "No such endpoint or version; the sentence names what is live.",
    "413": "The body is over the limit.",
    "429": "The queue is full; try again after Retry-After seconds.",
    "500": "The model failed; the server's log has the cause under the request id.",
    "503": "Not ready, or shutting down.",
    "504": "The deadline passed before the model answered.",
}


_SHOWN: Final[Document] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
"""How callers show who they are."""


def openapi(
    endpoints: Sequence[Described],
    asks: bool = False,
    others: Sequence[str] = (),
    more: tuple[Document, Document] = ({}, {}),
) -> Document:
    """The document. Every path is one that answers now; endpoint names and versions are the live ones.

    ``asks``: callers must show a key.  ``others``: names of what is no model of tensors.  ``more``: paths and schemas
    of those.
    """
    components = {**schemas.SHARED, **more[1]}
    paths = _server_paths([*(described.name for described in endpoints), *others]) | more[0]
    for index, described in enumerate(endpoints):
        key = _key(described, index)
        components |= schemas.of_endpoint(described, key)
        paths |= _endpoint_paths(described, key)
    if len(endpoints) == 1:
        key = _key(endpoints[0], 0)
        paths["/invocations"] = {"post": _invocations(endpoints[0], key, "the only endpoint")}
    shown: Document = {"security": [{name: []} for name in _SHOWN]} if asks else {}
    schemes: Document = {"securitySchemes": _SHOWN} if asks else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fairlead",
            "version": __version__,
            "description": _about(endpoints, others),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in _tags(endpoints, more[0])],
        "paths": paths,
        "components": {"schemas": components, "headers": schemas.HEADERS, "parameters": schemas.PARAMETERS, **schemes},
        **shown,
    }


def _about(endpoints: Sequence[Described], others: Sequence[str]) -> str:
    tensors = ", ".join(described.name for described in endpoints)
    said = "" if others and not tensors else f"Open Inference Protocol V2, KServe V1 and MLflow scoring for {tensors}"
    if not tensors and not others:
        said += "no endpoint yet"
    texts = f"OpenAI's API for {', '.join(others)}" if others else ""
    return "; ".join(part for part in (said, texts) if part) + "."


def _tags(endpoints: Sequence[Described], more: Document) -> list[str]:
    return [*(described.name for described in endpoints), *(["text"] if more else []), "server"]


def _key(described: Described, index: int) -> str:
    """The prefix of the endpoint's own schemas."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', described.name)}_{index}"


def _feedback() -> Document:
    value = {"type": ["number", "string", "boolean"]}
    label = {
        "prediction_id": {"type": "string", "description": "Header fairlead-prediction-id of the answer."},
        "key": {"type": "string", "description": "A business key, where no prediction id is known."},
        "row": {"type": "integer"},
        "label": value,
        "reward": value,
        "at": {"type": ["string", "integer"], "description": "When it became known: ISO time or Unix milliseconds."},
    }
    labels = {"type": "array", "items": {"type": "object", "properties": label}, "minItems": 1}
    body = {"type": "object", "properties": {"endpoint": {"type": "string"}, "labels": labels}, "required": ["labels"]}
    example = {"endpoint": "churn", "labels": [{"prediction_id": "0192-f3", "label": 1}]}
    counts = {name: {"type": "integer"} for name in ("new", "same", "corrected")}
    kept = {"type": "object", "properties": counts}
    return {
        "summary": "Labels, late: what turned out to be true (with serve --record)",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body, "example": example}}},
        "responses": {
            "200": {"description": "The labels are durable.", "content": {"application/json": {"schema": kept}}},
            **{code: {"description": _ERRORS[code]} for code in ("400", "503")},
        },
    }


def _server_paths(names: Sequence[str]) -> Document:
    return {
        "/v2": {"get": _get("Server metadata", "ServerMetadata", metadata.server(__version__))},
        "/v2/health/live": {"get": _get("The server runs", "Live", {"live": True})},
        "/v2/health/ready": {"get": _get("Every endpoint is ready", "Ready", {"ready": True}, unready=True)},
        "/healthz": {"get": _get("The server runs", "Live", {"live": True})},
        "/readyz": {"get": _get("Every endpoint is ready", "Ready", {"ready": True}, unready=True)},
        "/ping": {"get": _get("Every endpoint is ready (MLflow)", "Ready", {"ready": True}, unready=True)},
        "/health": {"get": _get("Every endpoint is ready (MLflow)", "Ready", {"ready": True}, unready=True)},
        "/v1/models": {"get": _get("Live endpoints", "Models", metadata.v1_models(names, 0))},
        "/version": {"get": _text("The server's version", "text/plain")},
        "/metrics": {"get": _text("Prometheus metrics", "text/plain")},
        "/v2/repository/index": {"post": _get("Every version, live or loading (Triton)", "Repository", [])},
        "/v1/feedback": {"post": _feedback()},
        "/openapi.json": {"get": _get("This document", "Anything", None)},
        "/docs": {"get": _text("The documentation page", "text/html")},
    }


def _endpoint_paths(described: Described, key: str) -> Document:
    name = described.name
    path = quote(name, safe="")
    base = f"/v2/models/{path}"
    model = metadata.model(name, described.versions, described.platform, described.signature)
    ready = metadata.model_ready(name, True)
    paths = {
        base: {"get": _get(f"Metadata of {name}", "ModelMetadata", model, name, unready=True)},
        f"{base}/ready": {"get": _get(f"Whether {name} is ready", "ModelReady", ready, name, unready=True)},
        f"{base}/infer": {"post": _infer(described, key, "")},
        f"/v1/models/{path}": {
            "get": _get(
                f"Whether {name} is ready (V1)", "V1Model", metadata.v1_model(name, True, 0), name, unready=True
            )
        },
        f"/v1/models/{path}:predict": {"post": _v1(described, key)},
        f"/serving-endpoints/{path}/invocations": {"post": _invocations(described, key, name)},
    }
    if described.explained:
        paths[f"/v1/models/{path}:explain"] = {"post": _explain(described, key)}
    for version in described.versions:
        one = f"{base}/versions/{quote(version)}"
        paths[one] = {"get": _get(f"Metadata of {name}, version {version}", "ModelMetadata", model, name, unready=True)}
        paths[f"{one}/ready"] = {
            "get": _get(f"Whether {name}, version {version}, is ready", "ModelReady", ready, name, unready=True)
        }
        paths[f"{one}/infer"] = {"post": _infer(described, key, version)}
    return paths


def _infer(described: Described, key: str, version: str) -> Document:
    content: Document = {"schema": schemas.ref(f"{key}_v2")}
    if not examples.large(described):
        content["example"] = examples.v2(described)
    binary = {"schema": {"type": "string", "format": "binary"}}
    operation = _post(
        f"Open Inference Protocol V2{', version ' + version if version else ''}",
        described.name,
        {"application/json": content, "application/octet-stream": binary},
        {"application/json": {"schema": schemas.ref(f"{key}_v2_reply")}, "application/octet-stream": binary},
        "Error",
    )
    operation["description"] = (
        "JSON, or JSON followed by raw little-endian tensors: then the header Inference-Header-Content-Length is the "
        "length of the JSON and each raw tensor has parameters.binary_data_size."
    )
    operation["parameters"].append({"$ref": "#/components/parameters/HeaderLength"})
    return operation


def _v1(described: Described, key: str) -> Document:
    content: Document = {"schema": schemas.ref(f"{key}_v1")}
    if not examples.large(described):
        content["example"] = examples.v1(described)
    reply = {"application/json": {"schema": schemas.ref(f"{key}_predictions")}}
    return _post("KServe V1", described.name, {"application/json": content}, reply, "Error")


def _explain(described: Described, key: str) -> Document:
    content: Document = {"schema": schemas.ref(f"{key}_v1")}
    if not examples.large(described):
        content["example"] = examples.v1(described)
    reply = {"application/json": {"schema": schemas.ref("Explanations")}}
    operation = _post(
        "KServe V1: what each column adds to the answer", described.name, {"application/json": content}, reply, "Error"
    )
    operation["description"] = (
        "Shapley values against background rows: they add up to value less base. "
        "parameters may have output, column and samples."
    )
    return operation


def _invocations(described: Described, key: str, whose: str) -> Document:
    content: Document = {"schema": schemas.ref(f"{key}_mlflow")}
    if not examples.large(described):
        content["example"] = examples.invocations(described)
    body = {"application/json": content, "text/csv": {"schema": {"type": "string"}}}
    reply = {"application/json": {"schema": schemas.ref(f"{key}_predictions")}}
    return _post(f"MLflow scoring for {whose}", described.name, body, reply, "MlflowError")


def _post(summary: str, tag: str, body: Document, reply: Document, error: str) -> Document:
    responses: Document = {
        "200": {"description": "The predictions.", "headers": schemas.REPLY_HEADERS, "content": reply}
    }
    for status, text in _ERRORS.items():
        responses[status] = {"description": text, "content": {"application/json": {"schema": schemas.ref(error)}}}
    responses["429"]["headers"] = {"retry-after": {"$ref": "#/components/headers/RetryAfter"}}
    return {
        "summary": summary,
        "tags": [tag],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _ASKED],
        "requestBody": {"required": True, "content": body},
        "responses": responses,
    }


def _get(summary: str, schema: str, example: Any, tag: str = "server", *, unready: bool = False) -> Document:
    content: Document = {"schema": schemas.ref(schema)}
    if example is not None:
        content["example"] = example
    responses: Document = {"200": {"description": summary, "content": {"application/json": content}}}
    if unready:
        body = {"application/json": {"schema": schemas.ref("Anything")}}
        responses["503"] = {"description": "Not ready.", "content": body}
        if tag != "server":
            responses["404"] = {
                "description": _ERRORS["404"],
                "content": {"application/json": {"schema": schemas.ref("Error")}},
            }
    return {"summary": summary, "tags": [tag], "responses": responses}


def _text(summary: str, media: str) -> Document:
    content = {media: {"schema": {"type": "string"}}}
    return {
        "summary": summary,
        "tags": ["server"],
        "responses": {"200": {"description": summary, "content": content}},
    }
