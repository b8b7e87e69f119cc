"""JSON Schemas of the OpenAPI document: what every server has, and what one endpoint takes and gives."""

from __future__ import annotations

from typing import Any, Final

from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit.codec.tensors import Null
from fairlead.serve.call import LANES
from fairlead.serve.examples import Described
from fairlead.serve.validate import stand_in

Document = dict[str, Any]

_NUMBERS: Final = [name.value for name in DataType if name not in (DataType.BOOL, DataType.BYTES)]


def of_endpoint(described: Described, key: str) -> Document:
    """The endpoint's own schemas, their names prefixed with ``key``."""
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
                "parameters": ref("Parameters"),
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
                "parameters": ref("Parameters"),
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
            "parameters": ref("Parameters"),
            "data": ref("TensorData"),
        },
        ["name", "shape", "datatype"],
    )


def _output(spec: TensorSpec) -> Document:
    return _object(
        {
            "name": {"const": spec.name},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "parameters": ref("Parameters"),
            "data": ref("TensorData"),
        },
        ["name", "shape", "datatype"],
    )


def _requested(signature: Signature) -> Document:
    names = [spec.name for spec in signature.outputs]
    return _object({"name": {"enum": names} if names else {}, "parameters": ref("Parameters")}, ["name"])


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


def ref(name: str) -> Document:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


_STRING: Final[Document] = {"type": "string"}
_SPLIT: Final = _object({"columns": {"type": "array"}, "index": {"type": "array"}, "data": {"type": "array"}}, ["data"])
_RECORDS: Final[Document] = {"type": "array", "items": {"type": "object"}}
_TENSORS: Final[Document] = {"type": "array", "items": ref("TensorMetadata")}
SHARED: Final[Document] = {
    "Anything": {},
    "Parameters": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    "TensorData": {
        "type": "array",
        "description": "Flat in row-major order, or nested as the shape says; null is a missing value.",
        "items": {"anyOf": [ref("TensorData"), {"type": ["number", "string", "boolean", "null"]}]},
    },
    "Explanations": {
        "type": "object",
        "properties": {
            "predictions": {"description": "What :predict answers."},
            "explanations": {
                "type": "array",
                "description": "One a row; the attributions add up to value less base.",
                "items": {
                    "type": "object",
                    "properties": {
                        "output": _STRING,
                        "column": {"type": "integer"},
                        "value": {"type": "number"},
                        "base": {"type": "number"},
                        "attributions": {"type": "object", "additionalProperties": {"type": "number"}},
                        "standard_errors": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
                        "exact": {"type": "boolean"},
                        "background_rows": {"type": "integer"},
                    },
                    "required": ["output", "value", "base", "attributions", "exact", "background_rows"],
                },
            },
        },
        "required": ["predictions", "explanations"],
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
    "Repository": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"name": _STRING, "version": _STRING, "state": _STRING},
            "required": ["name", "state"],
        },
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
HEADERS: Final[Document] = {
    "RequestId": {"description": "The id of the request: yours, or a fresh one.", "schema": _STRING},
    "Version": {"description": "The version that answered.", "schema": _STRING},
    "ServerTiming": {
        "description": "Milliseconds in the queue, in the model and in a graph's steps.",
        "schema": _STRING,
    },
    "RetryAfter": {"description": "Seconds.", "schema": {"type": "integer"}},
}
REPLY_HEADERS: Final[Document] = {
    "x-request-id": {"$ref": "#/components/headers/RequestId"},
    "fairlead-version": {"$ref": "#/components/headers/Version"},
    "server-timing": {"$ref": "#/components/headers/ServerTiming"},
}
PARAMETERS: Final[Document] = {
    "RequestId": {"name": "x-request-id", "in": "header", "schema": _STRING},
    "Timeout": {
        "name": "x-request-timeout-ms",
        "in": "header",
        "description": "The call's deadline, milliseconds from its arrival.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    "Priority": {
        "name": "x-request-priority",
        "in": "header",
        "description": "Whose turn it is when calls wait; standard where none is named.",
        "schema": {"type": "string", "enum": list(LANES)},
    },
    "Key": {
        "name": "fairlead-key",
        "in": "header",
        "description": "A business key of the call, by which its label may be told later (with serve --record).",
        "schema": _STRING,
    },
    "HeaderLength": {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Bytes of JSON before the raw tensors.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
