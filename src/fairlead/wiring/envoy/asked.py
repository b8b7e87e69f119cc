"""What somebody asks of a rendering, and the words that its parts share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import TrafficSplit

HTTP: Final = "fairlead"
GRPC: Final = "fairlead_grpc"
"""Clusters of the server itself."""

_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_NUMERIC = re.compile(r"[0-9.]+|.*:.*")
_TYPES: Final = "type.googleapis.com/envoy"


@dataclass(frozen=True, slots=True)
class Place:
    """A host, without brackets, and a port."""

    host: str
    port: int

    @property
    def numeric(self) -> bool:
        """Whether it needs no name server."""
        return _NUMERIC.fullmatch(self.host) is not None

    @property
    def socket(self) -> dict[str, Any]:
        return {"socket_address": {"address": self.host, "port_value": self.port}}

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rendering:
    """``listen``: where Envoy takes calls.  ``admin``: its own pages; None: nowhere.

    ``servers``: where the servers of the spec are; empty: where the spec says.
    ``splits``: of endpoints whose versions share the traffic now, by endpoint.
    """

    listen: Place = Place("127.0.0.1", 10000)
    admin: Place | None = None
    servers: tuple[Place, ...] = ()
    splits: Mapping[str, TrafficSplit] = field(default_factory=dict)


def place(text: str, what: str) -> Place:
    """``HOST:PORT``. ``what``: the flag, for the error. Raises UsageError."""
    found = _PLACE.fullmatch(text)
    if found is None or not 0 < int(found["port"]) <= 65535:
        raise UsageError(f"{what} is {text[:80]!r}; expected HOST:PORT, as 127.0.0.1:10000")
    return Place(found["host"].strip("[]"), int(found["port"]))


def typed(name: str, **fields: Any) -> dict[str, Any]:
    """A message of Envoy's by its name, such as ``extensions.filters.http.router.v3.Router``."""
    return {"@type": f"{_TYPES}.{name}", **fields}


def seconds(value: float) -> str:
    """As protobuf writes a duration."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
