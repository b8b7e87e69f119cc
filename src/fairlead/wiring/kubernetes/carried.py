"""What a pod is told: its part of the spec, and what of this machine, and which secrets, it needs for that."""

from __future__ import annotations

import copy
import hashlib
import pathlib
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.hosts import loopback
from fairlead.kit.spec.document import Path
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring import contained, mentions, specs_ledger
from fairlead.wiring.kubernetes.units import Unit, apart

SLACK: Final = 1.0
"""Seconds beyond the longest deadline that a server has to end."""
_PORTS: Final = {
    "http": 80, "https": 443, "postgresql": 5432, "postgresql+psycopg": 5432, "redis": 6379, "rediss": 6379, "s3": 443,
    "oip+http": 80, "oip+https": 443,
}  # fmt: skip
_TOLD: Final = re.compile(r"[?&][^=&]*(?:pass|pwd|secret|token|key|credential)[^=&]*=(?!\$\{)[^&]", re.IGNORECASE)
_SPOKEN: Final = ("budgets", "prices", "prices_file", "ledger", "traces")
"""Parts of the spec that are for language models."""
_SALT: Final = ("endpoints", mentions.ANY, "record", "salt")
"""Its text is a secret unless it refers to one."""


@dataclass
class Needs:
    """``variables``: environment variable to where the spec names it.  ``files``: path of a secret to the same.

    ``ports``: of other machines.  ``s3``: whether something is in a bucket.
    """

    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    ports: set[int] = field(default_factory=set)
    s3: bool = False


def data(file: SpecFile, endpoints: tuple[str, ...]) -> dict[str, Any]:
    """The spec of these endpoints as their server has it: the cluster is the scaler, and has the ports."""
    found = copy.deepcopy(file.data)
    found.pop("deploy", None)
    found["endpoints"] = {name: one for name, one in found["endpoints"].items() if name in endpoints}
    for one in found["endpoints"].values():
        one.pop("deploy", None)
        one.pop("replicas", None)
    if not any(file.spec.endpoints[name].speaks for name in endpoints):
        for part in _SPOKEN:
            found.pop(part, None)
    if "budgets" in found:
        found["budgets"] = [
            one for one in found["budgets"] if one.get("endpoint", "") in ("", mentions.ANY, *endpoints)
        ]
    if path := found.pop("prices_file", ""):  # of this machine: it goes along
        filed = specs_ledger.filed(pathlib.Path(path).expanduser())
        found["prices"] = [
            *found.get("prices", ()),
            *(one.model_dump(mode="json", exclude_unset=True) for _, one in filed),
        ]
    server = found["server"] = dict(found.get("server") or {})
    server |= {"host": server.get("host", "0.0.0.0"), "port": file.spec.server.port}  # noqa: S104 - in a pod
    server["grace"] = grace(file, endpoints)
    return found


def unit_data(file: SpecFile, unit: Unit) -> dict[str, Any]:
    """Of a unit's pods: engines that are apart are asked over HTTP."""
    found = data(file, unit.endpoints)
    for name in unit.endpoints:
        if (served := file.spec.endpoints[name].llm) is not None and apart(file, name):
            known = {"parallel", "connections", "context"} & served.options.keys()
            asked = {
                key: found["endpoints"][name]["llm"][key] for key in _LLM if key in found["endpoints"][name]["llm"]
            }
            asked |= {"engine": "openai", "base_url": f"http://{vllm_name(unit, name)}:8000/v1", "model": name}
            options = {key: served.options[key] for key in sorted(known)}
            found["endpoints"][name]["llm"] = {**asked, "options": {"resumes": True, **options}}
    return found


_LLM: Final = ("token", "max_tokens", "default_tokens")
"""Parts of ``llm`` that hold for whatever engine there is."""


def vllm_name(unit: Unit, endpoint: str) -> str:
    return f"{unit.name}-vllm" if endpoint == unit.head else f"{unit.name}-{unit.endpoints.index(endpoint)}-vllm"


def stamp(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Annotation of pods, by which another spec makes other pods."""
    digest = hashlib.sha256(text(told, name).encode()).hexdigest()[:16]
    return {"fairlead.dev/spec": noted_yaml.Noted(digest, "a new spec, new pods")}


def text(spec: dict[str, Any], name: str) -> str:
    return f"# Out of {name} by `fairlead render`: change that file, not this one.\n{noted_yaml.text(spec)}"


def longest(file: SpecFile, endpoints: tuple[str, ...]) -> float:
    """Seconds of the longest call or stream."""
    return max(file.spec.endpoints[name].deadline_ms for name in endpoints) / 1000


def grace(file: SpecFile, endpoints: tuple[str, ...]) -> int | float:
    """Seconds that a server has to end: longer than its longest stream, so that replacing a pod cuts none."""
    wanted = max(file.spec.server.grace, longest(file, endpoints) + SLACK)
    return int(wanted) if wanted.is_integer() else wanted


def needs(file: SpecFile, told: dict[str, Any], beside: Sequence[str] = ()) -> Needs:
    """Of a spec that a pod is told. ``beside``: Services of the same rendering, whose addresses it knows.

    Raises UsageError for what is on this machine, or secret.
    """
    found = Needs()
    for path, where, value, secrets in contained.told(file, told, found.variables):
        for secret in secrets:
            _absolute(file, path, secret)
            found.files.setdefault(secret, where)
        _look(file, found, path, where, value, beside)
    return found


def _look(file: SpecFile, found: Needs, path: Path, where: str, value: str, beside: Sequence[str]) -> None:
    if mentions.fits(path, _SALT) and value and "${" not in value:
        raise UsageError(f"{where} is a secret, and a ConfigMap is none; write ${{env:NAME}} in its place")
    if "://" in value:
        _address(found, where, value, beside)
    elif mentions.fits(path, mentions.LLM) and apart(file, str(path[1])):
        return  # its pods pull it
    elif local := contained.local(file, path, value):
        _absolute(file, path, local)


def _address(found: Needs, where: str, value: str, beside: Sequence[str]) -> None:
    try:
        parts: SplitResult = urlsplit(value)
        port = parts.port
    except ValueError:
        return  # a text that is no address
    if (parts.password and "${" not in parts.password) or _TOLD.search(value):
        raise UsageError(f"{where} has a secret in it, and a ConfigMap is none; write ${{env:NAME}} in its place")
    if parts.hostname and loopback(parts.hostname):
        raise UsageError(f"{where} leads to {parts.hostname}, which in a pod is the pod; name a host of the cluster")
    found.s3 = found.s3 or parts.scheme == "s3"
    if (port or parts.scheme in _PORTS) and parts.hostname not in beside:
        found.ports.add(port or _PORTS[parts.scheme])


def _absolute(file: SpecFile, path: Path, value: str) -> None:
    if not posixpath.isabs(value) or ".." in value.split("/"):
        raise UsageError(
            f"{file.at(*path)} is {value}, a file of this machine, which no pod has; name a "
            "registered model, or the path "
            "that it has in the image or in a volume (deploy.volumes), from / on"
        )
