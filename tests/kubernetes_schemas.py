"""Whether an object is one that a cluster takes: Kubernetes' own schemas, and those of custom resources.

Custom resources are looked at by their CRDs with three changes, without which a schema passes nearly everything: an
object takes no key that it does not name (a cluster would drop it in silence), an int-or-string is either of the two,
and what is nullable may be null.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

VERSION = "1.35"
"""Of Kubernetes."""
_FOLDERS = ("gateway-api", "keda", "keda-http-add-on", "kserve", "prometheus-operator")
_UNKNOWN = ("networking.istio.io",)
"""API groups without a schema here."""


def specs() -> Path:
    """The folder of CRDs; skips without it."""
    root = os.environ.get("FAIRLEAD_DATA")
    if not root or not (Path(root) / "specs").is_dir():
        pytest.skip("FAIRLEAD_DATA names no folder with specs")
    return Path(root) / "specs"


def problems(body: dict[str, Any]) -> list[str]:
    """What is wrong with an object; empty for nothing."""
    group = body["apiVersion"].rpartition("/")[0]
    name = f"{body['kind']}/{body['metadata']['name']}"
    if group in _UNKNOWN:
        return []
    if group in ("", "apps", "autoscaling", "policy") or (group.endswith("k8s.io") and "gateway" not in group):
        try:
            kubernetes_validate.validate(body, VERSION, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            return [f"{name}: {error}"]
        return []
    checked = _checker(str(specs()), body["apiVersion"], body["kind"])
    return [f"{name}: {'.'.join(map(str, one.absolute_path))}: {one.message}" for one in checked.iter_errors(body)]


@functools.cache
def _checker(folder: str, api: str, kind: str) -> Any:
    for part in _FOLDERS:
        for path in sorted((Path(folder) / part).glob("*.yaml")):
            if kind.lower() not in path.name:
                continue
            crd = yaml.load(path.read_bytes(), yaml.CSafeLoader)
            group, _, version = api.rpartition("/")
            if crd["spec"]["group"] != group or crd["spec"]["names"]["kind"] != kind:
                continue
            for one in crd["spec"]["versions"]:
                if one["name"] == version and one["served"]:
                    schema = strict(one["schema"]["openAPIV3Schema"])
                    schema["properties"]["metadata"] = {"type": "object"}
                    return jsonschema.Draft202012Validator(schema)
    pytest.fail(f"no CRD of {api} {kind}")


def strict(schema: Any) -> Any:
    """A schema of a CRD, as strict as a cluster is meant to be read."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(one) for key, one in schema.items()}
    if "properties" in found and isinstance(found["properties"], dict):
        known = found.get("x-kubernetes-preserve-unknown-fields")
        if "additionalProperties" not in found and not known:
            found["additionalProperties"] = False
    if found.get("x-kubernetes-int-or-string") is True:
        found.pop("anyOf", None)
        found["type"] = ["integer", "string"]
    if found.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    return found
