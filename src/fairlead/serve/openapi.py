"""The OpenAPI 3.1 document of what this server answers, with the live endpoints' own names, types and examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from fairlead import __version__
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit.codec.tensors import Null
from fairlead.serve import examples
from fairlead.serve.edges import metadata
from fairlead.serve.examples import Described
from fairlead.serve.validate import stand_in

Document = dict[str, Any]

_NUMBERS: Final = [name.value for name in DataType if name not in (DataType.BOOL, DataType.BYTES)]
_ERRORS: Final = {
    "400": "The request does not fit the model: the sentence names the field, what was expected and what was found.",
    "404": "No such endpoint or version; the sentence names what is live.",
    "413": "The body is over the limit.",
    "429": "The queue is full; try again after Retry-After seconds.",
    "500": "The model failed; the server's log has the cause under the request id.",
    "503": "Not ready, or shutting down.",
    "504": "The deadline passed before the model answered.",
}


def openapi(endpoints: Sequence[Described]) -> Document:
    """The document. Every path is one that answers now; endpoint names and versions are the live ones."""
    schemas = dict(_SHARED)
    paths = _server_paths(endpoints)
    for index, described in enumerate(endpoints):
        key = _key(described, index)
        schemas |= _schemas(described, key)
        paths |= _endpoint_paths(described, key)
    if len(endpoints) == 1:
        key = _key(endpoints[0], 0)
        paths["/invocations"] = {"post": _invocations(endpoints[0], key, "the only endpoint")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fairlead",
            "version": __version__,
            "description": "Open Inference Protocol V2, KServe V1 and MLflow scoring for "
            + (", ".join(described.name for described in endpoints) or "no endpoint yet")
            + ".",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": described.name} for described in endpoints] + [{"name": "server"}],
        "paths": paths,
        "components": {"schemas": schemas, "headers": _HEADERS, "parameters": _PARAMETERS},
    }


def _key(described: Described, index: int) -> str:
    """The prefix of the endpoint's own schemas."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', described.name)}_{index}"


def _server_paths(endpoints: Sequence[Described]) -> Document:
    names = [described.name for described in endpoints]
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
        "/openapi.json": {"get": _get("This document", "Anything", None)},
        "/docs": {"get": _text("The documentation page", "text/html")},
    }


def _endpoint_paths(described: Described, key: str) -> Document:
    name, signature = described.name, described.signature
    base = f"/v2/models/{name}"
    model = metadata.model(name, described.versions, described.platform, signature)
    ready = metadata.model_ready(name, True)
    paths = {
        base: {"get": _get(f"Metadata of {name}", "ModelMetadata", model, name, unready=True)},
        f"{base}/ready": {"get": _get(f"Whether {name} is ready", "ModelReady", ready, name, unready=True)},
        f"{base}/infer": {"post": _infer(described, key, "")},
        f"/v1/models/{name}": {
            "get": _get(
                f"Whether {name} is ready (V1)", "V1Model", metadata.v1_model(name, True, 0), name, unready=True
            )
        },
        f"/v1/models/{name}:predict": {"post": _v1(described, key)},
        f"/serving-endpoints/{name}/invocations": {"post": _invocations(described, key, name)},
    }
    for version in described.versions:
        one = f"{base}/versions/{version}"
        paths[one] = {"get": _get(f"Metadata of {name}, version {version}", "ModelMetadata", model, name, unready=True)}
        paths[f"{one}/ready"] = {
            "get": _get(f"Whether {name}, version {version}, is ready", "ModelReady", ready, name, unready=True)
        }
        paths[f"{one}/infer"] = {"post": _infer(described, key, version)}
    return paths


def _infer(described: Described, key: str, version: str) -> Document:
    content: Document = {"schema": _ref(f"{key}_v2")}
    if not examples.large(described):
        content["example"] = examples.v2(described)
    binary = {"schema": {"type": "string", "format": "binary"}}
    operation = _post(
        f"Open Inference Protocol V2{', version ' + version if version else ''}",
        described.name,
        {"application/json": content, "application/octet-stream": binary},
        {"application/json": {"schema": _ref(f"{key}_v2_reply")}, "application/octet-stream": binary},
        "Error",
    )
    operation["description"] = (
        "JSON, or JSON followed by raw little-endian tensors: then the header Inference-Header-Content-Length is the "
        "length of the JSON and each raw tensor has parameters.binary_data_size."
    )
    operation["parameters"].append({"$ref": "#/components/parameters/HeaderLength"})
    return operation


def _v1(described: Described, key: str) -> Document:
    content: Document = {"schema": _ref(f"{key}_v1")}
    if not examples.large(described):
        content["example"] = examples.v1(described)
    reply = {"application/json": {"schema": _ref(f"{key}_predictions")}}
    return _post("KServe V1", described.name, {"application/json": content}, reply, "Error")


def _invocations(described: Described, key: str, whose: str) -> Document:
    content: Document = {"schema": _ref(f"{key}_mlflow")}
    if not examples.large(described):
        content["example"] = examples.invocations(described)
    body = {"application/json": content, "text/csv": {"schema": {"type": "string"}}}
    reply = {"application/json": {"schema": _ref(f"{key}_predictions")}}
    return _post(f"MLflow scoring for {whose}", described.name, body, reply, "MlflowError")


def _post(summary: str, tag: str, body: Document, reply: Document, error: str) -> Document:
    responses: Document = {"200": {"description": "The predictions.", "headers": _REPLY_HEADERS, "content": reply}}
    for status, text in _ERRORS.items():
        responses[status] = {"description": text, "content": {"application/json": {"schema": _ref(error)}}}
    responses["429"]["headers"] = {"retry-after": {"$ref": "#/components/headers/RetryAfter"}}
    return {
        "summary": summary,
        "tags": [tag],
        "parameters": [{"$ref": "#/components/parameters/RequestId"}, {"$ref": "#/components/parameters/Timeout"}],
        "requestBody": {"required": True, "content": body},
        "responses": responses,
    }


def _get(summary: str, schema: str, example: Any, tag: str = "server", *, unready: bool = False) -> Document:
    content: Document = {"schema": _ref(schema)}
    if example is not None:
        content["example"] = example
    responses: Document = {"200": {"description": summary, "content": {"application/json": content}}}
    if unready:
        body = {"application/json": {"schema": _ref("Anything")}}
        responses["503"] = {"description": "Not ready.", "content": body}
        if tag != "server":
            responses["404"] = {
                "description": _ERRORS["404"],
                "content": {"application/json": {"schema": _ref("Error")}},
            }
    return {"summary": summary, "tags": [tag], "responses": responses}


def _text(summary: str, media: str) -> Document:
    content = {media: {"schema": {"type": "string"}}}
    return {
        "summary": summary,
        "tags": ["server"],
        "responses": {"200": {"description": summary, "content": content}},
    }


def _schemas(described: Described, key: str) -> Document:
    signature = described.signature
    required = [spec for spec in signature.inputs if spec.required]
    rows = {"type": "array", "items": _row(signature)}
    columns = {"type": "object", "properties": {spec.name: {} for spec in signature.inputs}}
    params = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    prediction = signature.prediction or tuple(spec.name for spec in signature.outputs)
    inputs = {
        "type": "array",
        "minItems": len(required),
        "items": {"anyOf": [_input(spec) for spec in signature.inputs]} if signature.inputs else {},
    }
    outputs = {"type": "array", "items": {"anyOf": [_output(spec) for spec in signature.outputs] or [{}]}}
    return {
        f"{key}_v2": _object(
            {
                "id": {"type": "string"},
                "parameters": _ref("Parameters"),
                "inputs": inputs,
                "outputs": {"type": "array", "items": _requested(signature)},
            },
            ["inputs"],
        ),
        f"{key}_v2_reply": _object(
            {
                "model_name": {"const": described.name},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": outputs,
            },
            ["model_name", "outputs"],
        ),
        f"{key}_v1": {
            "oneOf": [
                _object({"instances": rows, "parameters": params}, ["instances"]),
                _object({"inputs": {"anyOf": [columns, rows]}, "parameters": params}, ["inputs"]),
            ]
        },
        f"{key}_mlflow": {
            "oneOf": [
                _object({"dataframe_split": _SPLIT, "params": params}, ["dataframe_split"]),
                _object({"dataframe_records": _RECORDS, "params": params}, ["dataframe_records"]),
                _object({"instances": rows, "params": params}, ["instances"]),
                _object({"inputs": {}, "params": params}, ["inputs"]),
            ]
        },
        f"{key}_predictions": _object(
            {"predictions": {"description": f"{' and '.join(prediction)}, one entry a row."}}, ["predictions"]
        ),
    }


def _input(spec: TensorSpec) -> Document:
    accepted = _NUMBERS if spec.datatype.value in _NUMBERS else [spec.datatype.value]
    return _object(
        {
            "name": {"const": spec.name},
            "shape": _shape(spec),
            "datatype": {"enum": accepted, "default": spec.datatype.value},
            "parameters": _ref("Parameters"),
            "data": _ref("TensorData"),
        },
        ["name", "shape", "datatype"],
    )


def _output(spec: TensorSpec) -> Document:
    return _object(
        {
            "name": {"const": spec.name},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "parameters": _ref("Parameters"),
            "data": _ref("TensorData"),
        },
        ["name", "shape", "datatype"],
    )


def _requested(signature: Signature) -> Document:
    names = [spec.name for spec in signature.outputs]
    return _object({"name": {"enum": names} if names else {}, "parameters": _ref("Parameters")}, ["name"])


def _row(signature: Signature) -> Document:
    if not signature.tabular and len(signature.inputs) == 1:
        return {"description": f"one row of {signature.inputs[0].name}, nested as its shape says"}
    properties = {spec.name: _cell(spec) if spec.column else {} for spec in signature.inputs}
    required = [spec.name for spec in signature.inputs if spec.required and stand_in(spec) is Null.REFUSE]
    return {"anyOf": [_object(properties, required), {"type": "array"}, {"type": ["number", "string", "boolean"]}]}


def _cell(spec: TensorSpec) -> Document:
    if spec.datatype is DataType.BYTES:
        kinds = ["string", "number", "boolean"]
    elif spec.datatype is DataType.BOOL:
        kinds = ["boolean", "integer"]
    else:
        kinds = ["number" if spec.datatype.is_float else "integer", "boolean"]
    return {"type": kinds if stand_in(spec) is Null.REFUSE else [*kinds, "null"]}


def _shape(spec: TensorSpec) -> Document:
    rank = len(spec.shape)
    return {
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "minItems": min(rank, 1) if spec.column else rank,
        "maxItems": rank,
    }


def _object(properties: Document, required: list[str]) -> Document:
    schema: Document = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


_STRING: Final[Document] = {"type": "string"}
_SPLIT: Final = _object({"columns": {"type": "array"}, "index": {"type": "array"}, "data": {"type": "array"}}, ["data"])
_RECORDS: Final[Document] = {"type": "array", "items": {"type": "object"}}
_TENSORS: Final[Document] = {"type": "array", "items": _ref("TensorMetadata")}
_SHARED: Final[Document] = {
    "Anything": {},
    "Parameters": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    "TensorData": {
        "type": "array",
        "description": "Flat in row-major order, or nested as the shape says; null is a missing value.",
        "items": {"anyOf": [_ref("TensorData"), {"type": ["number", "string", "boolean", "null"]}]},
    },
    "TensorMetadata": {
        "type": "object",
        "properties": {
            "name": _STRING,
            "datatype": {"enum": [name.value for name in DataType]},
            "shape": {"type": "array", "items": {"type": "integer"}, "description": "-1 is any size."},
            "optional": {"type": "boolean"},
        },
        "required": ["name", "datatype", "shape"],
    },
    "ServerMetadata": {
        "type": "object",
        "properties": {"name": _STRING, "version": _STRING, "extensions": {"type": "array", "items": _STRING}},
        "required": ["name", "version", "extensions"],
    },
    "ModelMetadata": {
        "type": "object",
        "properties": {
            "name": _STRING,
            "versions": {"type": "array", "items": _STRING},
            "platform": _STRING,
            "inputs": _TENSORS,
            "outputs": _TENSORS,
        },
        "required": ["name", "platform", "inputs", "outputs"],
    },
    "ModelReady": {
        "type": "object",
        "properties": {"name": _STRING, "ready": {"type": "boolean"}},
        "required": ["name", "ready"],
    },
    "Live": {"type": "object", "properties": {"live": {"type": "boolean"}}, "required": ["live"]},
    "Ready": {"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"]},
    "Models": {
        "type": "object",
        "properties": {"object": {"const": "list"}, "data": {"type": "array"}, "models": {"type": "array"}},
        "required": ["object", "data", "models"],
    },
    "V1Model": {
        "type": "object",
        "properties": {"id": _STRING, "name": _STRING, "ready": {"type": "boolean"}},
        "required": ["id", "name", "ready"],
    },
    "Error": {
        "type": "object",
        "properties": {
            "error": {"type": "string", "description": "One sentence."},
            "code": {"type": "string", "description": "Stable; match on this."},
            "request_id": _STRING,
        },
        "required": ["error", "code"],
    },
    "MlflowError": {
        "type": "object",
        "properties": {"error_code": _STRING, "message": _STRING, "code": _STRING, "request_id": _STRING},
        "required": ["error_code", "message", "code"],
    },
}
_HEADERS: Final[Document] = {
    "RequestId": {"description": "The id of the request: yours, or a fresh one.", "schema": _STRING},
    "Version": {"description": "The version that answered.", "schema": _STRING},
    "ServerTiming": {"description": "Milliseconds in the queue and in the model.", "schema": _STRING},
    "RetryAfter": {"description": "Seconds.", "schema": {"type": "integer"}},
}
_REPLY_HEADERS: Final[Document] = {
    "x-request-id": {"$ref": "#/components/headers/RequestId"},
    "fairlead-version": {"$ref": "#/components/headers/Version"},
    "server-timing": {"$ref": "#/components/headers/ServerTiming"},
}
_PARAMETERS: Final[Document] = {
    "RequestId": {"name": "x-request-id", "in": "header", "schema": _STRING},
    "Timeout": {
        "name": "x-request-timeout-ms",
        "in": "header",
        "description": "The call's deadline, milliseconds from its arrival.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    "HeaderLength": {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Bytes of JSON before the raw tensors.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
