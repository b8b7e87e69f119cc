"""The messages are those of the published protocols, field by field."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2

from fairlead.kit.codec.protos import POOL, SERVICES, InferRequest, message

DATA = os.environ.get("FAIRLEAD_DATA", "")
OURS = POOL.FindFileByName("fairlead/open_inference.proto")


def shape(descriptor: Any) -> dict[str, Any]:
    """Fields by number with name, type and label, and the same of what is nested."""
    fields = {
        field.number: (field.name, field.type, field.is_repeated, field.message_type and field.message_type.name)
        for field in descriptor.fields
    }
    return {"fields": fields}


@pytest.mark.parametrize("theirs", [service_pb2, health_pb2, reflection_pb2], ids=lambda one: one.DESCRIPTOR.package)
def test_as_the_client_libraries_have_them(theirs: Any) -> None:
    package = theirs.DESCRIPTOR.package
    service = POOL.FindServiceByName(SERVICES[package])
    known = {method.name: method for method in theirs.DESCRIPTOR.services_by_name[service.name].methods}
    seen = 0
    for method in service.methods:
        same = known[method.name]
        assert (method.client_streaming, method.server_streaming) == (same.client_streaming, same.server_streaming)
        for ours, their in ((method.input_type, same.input_type), (method.output_type, same.output_type)):
            assert ours.full_name == their.full_name
            found, wanted = shape(ours), shape(their)
            more = {number for number, field in found["fields"].items() if field[0] == "properties"}  # not Triton's
            assert {number: field for number, field in found["fields"].items() if number not in more}.items() <= (
                wanted["fields"].items()
            )
            seen += len(found["fields"])
    assert seen


@pytest.mark.skipif(not DATA, reason="FAIRLEAD_DATA is not set")
def test_as_the_protocol_publishes_them() -> None:
    text = (Path(DATA) / "specs/open-inference-protocol/open_inference_grpc.proto").read_text()
    text = re.sub(r"//[^\n]*", "", text)
    for name in re.findall(r"^message (\w+)", text, re.MULTILINE):
        assert name in OURS.message_types_by_name
    for kind, name, number in re.findall(r"(?:repeated )?([\w<>, ]+?) (\w+) = (\d+);", text):
        assert any(
            field.name == name and field.number == int(number)
            for one in every(OURS.message_types_by_name.values())
            for field in one.fields
        ), (kind, name, number)
    methods = re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\)", text)
    ours = {one.name: (one.input_type.name, one.output_type.name) for one in service_methods()}
    assert {name: (takes, gives) for name, takes, gives in methods}.items() <= ours.items()


def every(messages: Any) -> Any:
    for one in messages:
        yield one
        yield from every(one.nested_types)


def service_methods() -> Any:
    return POOL.FindServiceByName(SERVICES["inference"]).methods


def test_bytes_of_one_are_read_by_the_other() -> None:
    theirs = service_pb2.ModelInferRequest(model_name="m", id="é", raw_input_contents=[b"\0\1"])
    theirs.parameters["p"].double_param = 2.5
    theirs.inputs.add(name="x", datatype="FP32", shape=[1, -1]).contents.fp32_contents.extend([1.5, 2.5])
    ours = InferRequest.FromString(theirs.SerializeToString())
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
    assert ours.parameters["p"].WhichOneof("parameter_choice") == "double_param"
    status = message("grpc.health.v1.HealthCheckResponse")(status=1)
    assert health_pb2.HealthCheckResponse.FromString(status.SerializeToString()).status == 1
