"""The messages of the Open Inference Protocol over gRPC, of health checking and of reflection, as protobuf classes.

Field numbers and types are those of the protocols' .proto files; a test holds them against the published ones.
``ModelStreamInfer`` and the model repository are Triton's additions to the service. The classes live in a pool of
their own, so that a client library with the same names may be loaded beside them.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_KINDS: Final[dict[str, Any]] = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
_MESSAGE: Any = 11
_ENUM: Any = 14
_OPTIONAL: Any = 1
_REPEATED: Any = 3

OIP: Final = "inference"
HEALTH: Final = "grpc.health.v1"
REFLECTION: Final = "grpc.reflection.v1"
REFLECTION_ALPHA: Final = "grpc.reflection.v1alpha"

_OIP: Final[dict[str, str]] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 live bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 ready bool",
    "ModelReadyRequest": "1 name string, 2 version string",
    "ModelReadyResponse": "1 ready bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 name string, 2 version string, 3 extensions string*",
    "ModelMetadataRequest": "1 name string, 2 version string",
    "ModelMetadataResponse": "1 name string, 2 versions string*, 3 platform string, 4 inputs .TensorMetadata*, "
    "5 outputs .TensorMetadata*, 6 properties string:string",
    "ModelMetadataResponse.TensorMetadata": "1 name string, 2 datatype string, 3 shape int64*",
    "ModelInferRequest": "1 model_name string, 2 model_version string, 3 id string, "
    "4 parameters string:InferParameter, 5 inputs .InferInputTensor*, 6 outputs .InferRequestedOutputTensor*, "
    "7 raw_input_contents bytes*",
    "ModelInferRequest.InferInputTensor": "1 name string, 2 datatype string, 3 shape int64*, "
    "4 parameters string:InferParameter, 5 contents InferTensorContents",
    "ModelInferRequest.InferRequestedOutputTensor": "1 name string, 2 parameters string:InferParameter",
    "ModelInferResponse": "1 model_name string, 2 model_version string, 3 id string, "
    "4 parameters string:InferParameter, 5 outputs .InferOutputTensor*, 6 raw_output_contents bytes*",
    "ModelInferResponse.InferOutputTensor": "1 name string, 2 datatype string, 3 shape int64*, "
    "4 parameters string:InferParameter, 5 contents InferTensorContents",
    "InferParameter": "1 bool_param bool|parameter_choice, 2 int64_param int64|parameter_choice, "
    "3 string_param string|parameter_choice, 4 double_param double|parameter_choice, "
    "5 uint64_param uint64|parameter_choice",
    "InferTensorContents": "1 bool_contents bool*, 2 int_contents int32*, 3 int64_contents int64*, "
    "4 uint_contents uint32*, 5 uint64_contents uint64*, 6 fp32_contents float*, 7 fp64_contents double*, "
    "8 bytes_contents bytes*",
    "ModelStreamInferResponse": "1 error_message string, 2 infer_response ModelInferResponse",
    "RepositoryIndexRequest": "1 repository_name string, 2 ready bool",
    "RepositoryIndexResponse": "1 models .ModelIndex*",
    "RepositoryIndexResponse.ModelIndex": "1 name string, 2 version string, 3 state string, 4 reason string",
    "ModelRepositoryParameter": "1 bool_param bool|parameter_choice, 2 int64_param int64|parameter_choice, "
    "3 string_param string|parameter_choice, 4 bytes_param bytes|parameter_choice",
    "RepositoryModelLoadRequest": "1 repository_name string, 2 model_name string, "
    "3 parameters string:ModelRepositoryParameter",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "1 repository_name string, 2 model_name string, "
    "3 parameters string:ModelRepositoryParameter",
    "RepositoryModelUnloadResponse": "",
}
_HEALTH: Final[dict[str, str]] = {
    "HealthCheckRequest": "1 service string",
    "HealthCheckResponse": "1 status .ServingStatus",
    "HealthCheckResponse.ServingStatus": "0 UNKNOWN, 1 SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN",
}
_REFLECTION: Final[dict[str, str]] = {
    "ServerReflectionRequest": "1 host string, 3 file_by_filename string|message_request, "
    "4 file_containing_symbol string|message_request, "
    "5 file_containing_extension ExtensionRequest|message_request, "
    "6 all_extension_numbers_of_type string|message_request, 7 list_services string|message_request",
    "ExtensionRequest": "1 containing_type string, 2 extension_number int32",
    "ServerReflectionResponse": "1 valid_host string, 2 original_request ServerReflectionRequest, "
    "4 file_descriptor_response FileDescriptorResponse|message_response, "
    "5 all_extension_numbers_response ExtensionNumberResponse|message_response, "
    "6 list_services_response ListServiceResponse|message_response, "
    "7 error_response ErrorResponse|message_response",
    "FileDescriptorResponse": "1 file_descriptor_proto bytes*",
    "ExtensionNumberResponse": "1 base_type_name string, 2 extension_number int32*",
    "ListServiceResponse": "1 service ServiceResponse*",
    "ServiceResponse": "1 name string",
    "ErrorResponse": "1 error_code int32, 2 error_message string",
}
_PLAIN: Final = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "RepositoryIndex",
    "RepositoryModelLoad", "RepositoryModelUnload",
)  # fmt: skip
_METHODS: Final[dict[str, dict[str, tuple[str, str, bool, bool]]]] = {
    OIP: {
        **{name: (f"{name}Request", f"{name}Response", False, False) for name in _PLAIN},
        "ModelStreamInfer": ("ModelInferRequest", "ModelStreamInferResponse", True, True),
    },
    HEALTH: {
        "Check": ("HealthCheckRequest", "HealthCheckResponse", False, False),
        "Watch": ("HealthCheckRequest", "HealthCheckResponse", False, True),
    },
    REFLECTION: {"ServerReflectionInfo": ("ServerReflectionRequest", "ServerReflectionResponse", True, True)},
    REFLECTION_ALPHA: {"ServerReflectionInfo": ("ServerReflectionRequest", "ServerReflectionResponse", True, True)},
}
SERVICES: Final = {
    OIP: "inference.GRPCInferenceService",
    HEALTH: "grpc.health.v1.Health",
    REFLECTION: "grpc.reflection.v1.ServerReflection",
    REFLECTION_ALPHA: "grpc.reflection.v1alpha.ServerReflection",
}
"""Package to the full name of its one service."""


def _file(package: str, name: str, tables: dict[str, str]) -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    known: dict[str, descriptor_pb2.DescriptorProto] = {}
    for full, text in tables.items():
        outer, _, inner = full.rpartition(".")
        if text.startswith("0 "):
            enum = known[outer].enum_type.add(name=inner)
            for number, value in (part.split() for part in text.split(", ")):
                enum.value.add(name=value, number=int(number))
            continue
        known[full] = known[outer].nested_type.add(name=inner) if outer else made.message_type.add(name=inner)
        for part in text.split(", ") if text else ():
            _field(known[full], f".{package}", full, part)
    service = made.service.add(name=SERVICES[package].rpartition(".")[2])
    for method, (takes, gives, client, server) in _METHODS[package].items():
        service.method.add(
            name=method,
            input_type=f".{package}.{takes}",
            output_type=f".{package}.{gives}",
            client_streaming=client,
            server_streaming=server,
        )
    return made


def _field(message: descriptor_pb2.DescriptorProto, package: str, full: str, text: str) -> None:
    """``NUMBER NAME KIND``, where KIND* is repeated, KEY:VALUE a map, KIND|CHOICE one of a choice, .KIND nested."""
    number, name, kind = text.split()
    kind, _, choice = kind.partition("|")
    label = _REPEATED if kind.endswith("*") else _OPTIONAL
    key, _, value = kind.removesuffix("*").rpartition(":")
    field = message.field.add(name=name, number=int(number), label=label, json_name=_camel(name))
    if key:
        entry = message.nested_type.add(name=f"{_camel(name)[0].upper()}{_camel(name)[1:]}Entry")
        entry.options.map_entry = True
        _field(entry, package, full, f"1 key {key}")
        _field(entry, package, full, f"2 value {value}")
        field.label, field.type, field.type_name = _REPEATED, _MESSAGE, f"{package}.{full}.{entry.name}"
    elif value in _KINDS:
        field.type = _KINDS[value]
    else:
        field.type = _ENUM if value == ".ServingStatus" else _MESSAGE
        field.type_name = f"{package}.{full}{value}" if value.startswith(".") else f"{package}.{value}"
    if choice:
        if not message.oneof_decl:
            message.oneof_decl.add(name=choice)
        field.oneof_index = 0


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


_FILES: Final = (
    _file(OIP, "fairlead/open_inference.proto", _OIP),
    _file(HEALTH, "fairlead/health.proto", _HEALTH),
    _file(REFLECTION, "fairlead/reflection.proto", _REFLECTION),
    _file(REFLECTION_ALPHA, "fairlead/reflection_alpha.proto", _REFLECTION),
)
POOL: Final = descriptor_pool.DescriptorPool()
for _one in _FILES:
    POOL.Add(_one)


def message(full_name: str) -> Any:
    """The class of a message by its full name."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(full_name))


InferRequest: Final = message("inference.ModelInferRequest")
InferResponse: Final = message("inference.ModelInferResponse")
StreamResponse: Final = message("inference.ModelStreamInferResponse")
