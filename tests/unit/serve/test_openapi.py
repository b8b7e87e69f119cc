from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import numpy as np
import pytest
import yaml
from error_cases import CASES, Case
from openapi_spec_validator import validate
from samples import MATRIX, SIGNATURES, TABLE, WORDS

from fairlead.contracts.errors import NotFound
from fairlead.contracts.types import DataType, Reply, Signature, TensorSpec
from fairlead.serve import examples
from fairlead.serve.edges.edge import Edge
from fairlead.serve.edges.invocations import Invocations
from fairlead.serve.edges.v1 import V1
from fairlead.serve.edges.v2 import V2
from fairlead.serve.examples import Described
from fairlead.serve.openai import described as texts
from fairlead.serve.openapi import openapi

EXAMPLE = {
    "age": np.array([[41], [5]]),
    "income": np.array([[np.nan], [5.5]]),
    "city": np.array([["it's"], ["a, b"]], object),
    "member": np.array([[True], [False]]),
    "note": np.array([[None], ["n"]], object),
}
ENDPOINTS = [
    Described("table", "3", ("3", "2"), "onnx_onnxv1", TABLE, EXAMPLE),
    Described("matrix", "1", ("1",), "onnx_onnxv1", MATRIX),
    Described("words & co", "1", ("1",), "", WORDS),
]
REPLY = Reply({"label": np.array([1]), "probabilities": np.array([[0.25, np.nan]], np.float32)}, "table", "3")


def schema_of(document: dict[str, Any], path: str, kind: str) -> dict[str, Any]:
    operation = document["paths"][path]["post"]
    part = operation["requestBody"] if kind == "request" else operation["responses"][kind]
    return {**part["content"]["application/json"]["schema"], "components": document["components"]}


@pytest.mark.parametrize("endpoints", [[], ENDPOINTS[:1], ENDPOINTS], ids=len)
def test_it_is_openapi(endpoints: list[Described]) -> None:
    document = openapi(endpoints)
    validate(document)
    assert ("/invocations" in document["paths"]) == (len(endpoints) == 1)
    json.dumps(document)


def test_language_models_are_in_it() -> None:
    document = openapi(ENDPOINTS[:1], others=["writer"], more=texts.described(["writer"]))
    validate(document)
    assert document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["example"]
    for path in document["paths"]:
        if path.startswith(("/v1/chat", "/v1/comp", "/v1/resp", "/v1/emb")) and "{" not in path:
            content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            jsonschema.validate(content["example"], {**content["schema"], "components": document["components"]})
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(
                    {**content["example"], "colour": 1}, {**content["schema"], "components": document["components"]}
                )
    assert "/v1/chat/completions" not in openapi(ENDPOINTS[:1], more=texts.described([]))["paths"]


def test_paths_are_the_live_ones() -> None:
    paths = openapi(ENDPOINTS)["paths"]
    assert "/v2/models/table/versions/2/infer" in paths
    assert "/v2/models/matrix/infer" in paths
    assert "/v1/models/matrix:predict" in paths
    assert "/v2/models/words%20%26%20co/infer" in paths
    assert not [path for path in paths if "{" in path]


@pytest.mark.parametrize("described", ENDPOINTS[:2], ids=lambda described: described.name)
@pytest.mark.parametrize(
    ("path", "edge"),
    [
        ("/v2/models/{}/infer", V2()),
        ("/v1/models/{}:predict", V1()),
        ("/serving-endpoints/{}/invocations", Invocations()),
    ],
)
def test_examples_are_true(described: Described, path: str, edge: Edge) -> None:
    """Every example fits its schema, is accepted by the edge, and the answer fits the schema of the answer."""
    document = openapi(ENDPOINTS)
    where = path.format(described.name)
    content = document["paths"][where]["post"]["requestBody"]["content"]["application/json"]
    schema = schema_of(document, where, "request")
    body = json.dumps(content["example"]).encode()
    jsonschema.Draft202012Validator(schema).validate(content["example"])
    request = edge.read(body, {}, described.signature)
    answer = edge.write(Reply(REPLY.outputs, described.name, "3"), request, described.signature)
    reply = schema_of(document, where, "200")
    jsonschema.Draft202012Validator(reply).validate(json.loads(answer.body))


@pytest.mark.parametrize("case", [case for case in CASES if case.edge != "v2"][:20], ids=lambda case: case.name)
def test_errors_fit_their_schema(case: Case) -> None:
    edge: Edge = V1() if case.edge == "v1" else Invocations()
    described = Described(case.endpoint, "1", ("1",), "", SIGNATURES[case.endpoint])
    document = openapi([described])
    path = f"/v1/models/{case.endpoint}:predict" if case.edge == "v1" else "/invocations"
    headers = {name.encode(): value.encode() for name, value in case.headers.items()}
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the table of errors has its own test
        edge.read(case.body, headers, described.signature)
    answer = edge.refuse(caught.value, "r")  # type: ignore[arg-type]
    schema = schema_of(document, path, str(answer.status))
    jsonschema.Draft202012Validator(schema).validate(json.loads(answer.body))


def test_examples_prefer_a_whole_row() -> None:
    row = examples.row(ENDPOINTS[0])
    assert row["age"].tolist() == [[5]]
    assert row["city"].tolist() == [["a, b"]]


def test_examples_never_hold_what_is_refused() -> None:
    signature = Signature((TensorSpec("x", DataType.FP32, (-1, 2)),))
    described = Described("m", "1", ("1",), "", signature, {"x": np.array([[np.nan, 1.0]], np.float32)})
    V2().read(json.dumps(examples.v2(described)).encode(), {}, signature)


def test_a_large_row_has_no_example() -> None:
    signature = Signature((TensorSpec("image", DataType.FP32, (-1, 3, 64, 64)),))
    document = openapi([Described("net", "1", ("1",), "", signature)])
    validate(document)
    assert "example" not in document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]


@pytest.mark.skipif(
    "FAIRLEAD_DATA" not in os.environ, reason="FAIRLEAD_DATA is not set: the protocol's own schema is there"
)
def test_the_protocol_s_own_schema() -> None:
    """Requests and answers of ours are requests and answers of the Open Inference Protocol."""
    specification = Path(os.environ["FAIRLEAD_DATA"], "specs/open-inference-protocol/open_inference_rest.yaml")
    document = yaml.safe_load(specification.read_text())

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    paths = openapi(ENDPOINTS)["paths"]
    for described in ENDPOINTS:
        example = examples.v2(described)
        check("inference_request", example)
        request = V2().read(json.dumps(example).encode(), {}, described.signature)
        outputs = {"label": np.array([1]), "probabilities": np.array([[0.5, 0.5]], np.float32)}
        answer = V2().write(Reply(outputs, described.name, "1"), request, described.signature)
        check("inference_response", json.loads(answer.body))
        model = paths[f"/v2/models/{quote(described.name)}"]["get"]["responses"]["200"]["content"]["application/json"]
        check("metadata_model_response", model["example"])
    server = paths["/v2"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    check("metadata_server_response", server)
    check("inference_error_response", json.loads(V2().refuse(NotFound("no such endpoint"), "r").body))
