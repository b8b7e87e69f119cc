"""What somebody asks of a rendering, and the words that its parts share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import SpecFile

SCALERS: Final = ("hpa", "keda")
MESHES: Final = ("gateway-api", "istio")
SPEC_FOLDER: Final = "/etc/fairlead"
SPEC: Final = f"{SPEC_FOLDER}/fairlead.yaml"
IN_FLIGHT: Final = "fairlead_requests_in_flight"
STABLE: Final = "stable"
CANARY: Final = "canary"
ARMS: Final = {STABLE: "champion", CANARY: "candidate"}
"""What each arm is called in a rollout."""
SCRAPED: Final = "fairlead.dev/scraped"
ENDPOINT: Final = "fairlead.dev/endpoint"

_DIGEST: Final = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_TAGGED: Final = re.compile(r"[^@\s]+:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})")


@dataclass(frozen=True, slots=True)
class Rendering:
    """``image``: of the pods; empty: as the spec says.  ``mesh``: what shares out calls; empty: the servers do.

    ``insecure``: callers show no key.  ``rules``: groups of Prometheus rules (name, rules) that go with them.
    """

    image: str = ""
    scaler: str = "hpa"
    mesh: str = ""
    insecure: bool = False
    rules: Sequence[Mapping[str, Any]] = ()


def image(file: SpecFile, how: Rendering) -> str:
    """Of the server. Raises UsageError for none, and for one that is another tomorrow."""
    if how.image:
        return exact(how.image, "--image")
    if not file.spec.deploy.image:
        raise UsageError(
            f"{file.at('deploy', 'image')} says no image, and there is no --image; `fairlead package MODEL --image "
            "NAME:TAG` makes one"
        )
    return exact(file.spec.deploy.image, file.at("deploy", "image"))


def exact(name: str, where: str) -> str:
    """An image by tag or digest. Raises UsageError for one that is another tomorrow."""
    tagged = _TAGGED.fullmatch(name)
    if _DIGEST.fullmatch(name) or (tagged and "/" not in tagged["tag"] and tagged["tag"] != "latest"):
        return name
    raise UsageError(
        f"{where} is {name[:200]!r}, which names another image tomorrow; give NAME:TAG or NAME@sha256:DIGEST"
    )


def part_of(file: SpecFile) -> str:
    """The whole, as Kubernetes can call it."""
    return re.sub(r"[^a-z0-9]+", "-", file.spec.project.lower()).strip("-")[:40].strip("-") or "fairlead"


def secret(file: SpecFile) -> str:
    return file.spec.deploy.secret or f"{part_of(file)}-secrets"


def labels(file: SpecFile, instance: str, **more: str) -> dict[str, str]:
    """Of an object (Kubernetes' recommended labels). ``more``: with ``_`` for ``-``."""
    return {
        "app.kubernetes.io/name": "fairlead",
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/part-of": part_of(file),
        **{f"fairlead.dev/{name}": value for name, value in more.items()},
    }


def selected(instance: str, arm: str = "") -> dict[str, str]:
    """The labels by which pods are found; they never change."""
    found = {"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/instance": instance}
    return {**found, "fairlead.dev/arm": arm} if arm else found


def thing(
    file: SpecFile, api: str, kind: str, name: str, body: Mapping[str, Any], marks: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An object. ``marks``: its labels; else those of the whole."""
    metadata: dict[str, Any] = {"name": name}
    if file.spec.deploy.namespace:
        metadata["namespace"] = file.spec.deploy.namespace
    metadata["labels"] = dict(marks or labels(file, name))
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}


def whole(value: float) -> int | float:
    """``8.0`` as 8."""
    return int(value) if float(value).is_integer() else value
