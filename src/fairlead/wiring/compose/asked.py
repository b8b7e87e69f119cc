"""What somebody asks of a compose file, and what the spec says that another container must answer."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fairlead.contracts.errors import UsageError
from fairlead.kit.hosts import loopback
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring import mentions

PINNED: Final[Mapping[str, str]] = {
    "postgres": "docker.io/library/postgres:17.2",
    "redis": "docker.io/library/redis:7.4.1",
    "mlflow": "ghcr.io/mlflow/mlflow:v3.17.2",
    "prometheus": "docker.io/prom/prometheus:v2.55.1",
}
"""Images of what is beside the server, by exact version; MLflow's is that of the client in ``constraints.txt``."""
WORK: Final = "/srv"
"""Where the spec lies in the container, and relative paths of it begin."""
SPEC: Final = f"{WORK}/fairlead.yaml"


@dataclass(frozen=True, slots=True)
class Rendering:
    """``image``: of the server; empty: the variable FAIRLEAD_IMAGE says.  ``pins``: other images by service.

    ``prometheus``: whether it is there.  ``insecure``: callers show no key.  ``beside``: folder that the file is for;
    compose takes relative paths from there, and a spec from where the command runs.
    """

    image: str = ""
    pins: Mapping[str, str] = field(default_factory=dict)
    prometheus: bool = True
    insecure: bool = False
    beside: Path = Path()

    def path(self, local: str) -> str:
        """A path of the spec as the file names it: absolute ones as they are."""
        if local.startswith("/"):
            return local
        found = os.path.relpath(local, self.beside)
        return found if found.startswith("../") else f"./{found}"


@dataclass(frozen=True, slots=True)
class Address:
    """Another container that the spec names. ``field``: where.  ``service``: its name, which is its host."""

    field: str
    service: str
    scheme: str
    user: str
    password: str
    port: int | None
    path: str


def address(file: SpecFile, name: str, url: str) -> Address | None:
    """What ``url``, the value of a field of the spec, says; None: it is not here but on another machine.

    A host of one word is a service of this file; with a dot it is a machine elsewhere. Raises UsageError for this
    machine: in a container that is the container.
    """
    parts = urlsplit(mentions.legible(url))
    host = parts.hostname or ""
    where = file.at(name)
    if loopback(host) or not host:
        raise UsageError(
            f"{where} leads to {host or 'this machine'}, which in a container is the container; name a service, as "
            f"{parts.scheme}://{_USUAL.get(name, 'service')}{parts.path}"
        )
    if "." in host or ":" in host:
        return None
    try:
        port = parts.port
    except ValueError:
        raise UsageError(f"{where} has a port that is no number; leave it out") from None
    return Address(where, host, parts.scheme, parts.username or "", parts.password or "", port, parts.path.strip("/"))


_USUAL: Final = {"state": "db", "redis": "redis", "tracking": "mlflow"}


def pins(given: tuple[str, ...]) -> dict[str, str]:
    """``SERVICE=IMAGE`` each. Raises UsageError for what is not pinned."""
    found = {}
    for text in given:
        service, equals, image = text.partition("=")
        if not equals or service not in PINNED:
            raise UsageError(f"--pin is {text!r}; expected SERVICE=IMAGE with one of {', '.join(PINNED)}")
        found[service] = exact(image, f"--pin {service}")
    return found


def exact(image: str, flag: str) -> str:
    """An image by version or digest. Raises UsageError for one that is another tomorrow."""
    name, at, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not name or tag == "latest" or not (tag or (at and digest)):
        raise UsageError(
            f"{flag} is {image!r}, which names another image tomorrow; give IMAGE:VERSION or IMAGE@sha256:..."
        )
    return image
