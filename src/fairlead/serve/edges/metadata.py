"""The JSON documents of the GET routes, from signatures and names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from fairlead.contracts.types import Signature, TensorSpec
from fairlead.kit.codec.v2 import EXTENSION

EXTENSIONS: Final = (EXTENSION,)
"""Extensions of the Open Inference Protocol that this server has."""

Document = dict[str, Any]


def server(version: str) -> Document:
    """``GET /v2``."""
    return {"name": "fairlead", "version": version, "extensions": list(EXTENSIONS)}


def live() -> Document:
    """``GET /v2/health/live``."""
    return {"live": True}


def ready(flag: bool) -> Document:
    """``GET /v2/health/ready``. The protocol's text calls the key ``live`` there too; clients go by the status."""
    return {"ready": flag, "live": True}


def model(name: str, versions: Sequence[str], platform: str, signature: Signature) -> Document:
    """``GET /v2/models/{endpoint}``."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": platform,
        "inputs": [tensor(spec) for spec in signature.inputs],
        "outputs": [tensor(spec) for spec in signature.outputs],
    }


def tensor(spec: TensorSpec) -> Document:
    """One input or output; ``optional`` inputs may be left out."""
    document: Document = {"name": spec.name, "datatype": spec.datatype.value, "shape": list(spec.shape)}
    return document if spec.required else {**document, "optional": True}


def model_ready(name: str, flag: bool) -> Document:
    """``GET /v2/models/{endpoint}/ready``."""
    return {"name": name, "ready": flag}


def v1_models(names: Iterable[str], created: int) -> Document:
    """``GET /v1/models`` for KServe V1 (``models``) and OpenAI clients (``data``). ``created``: Unix time, seconds."""
    known = list(names)
    return {"object": "list", "data": [_openai(name, created) for name in known], "models": known}


def v1_model(name: str, flag: bool, created: int) -> Document:
    """``GET /v1/models/{endpoint}`` for both."""
    return {**_openai(name, created), "name": name, "ready": flag}


def _openai(name: str, created: int) -> Document:
    return {"id": name, "object": "model", "created": created, "owned_by": "fairlead"}
