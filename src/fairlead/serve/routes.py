"""The inference routes, told once: for Starlette as patterns, for the short way as a match on the raw path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fairlead.serve.edges.edge import Edge
from fairlead.serve.edges.invocations import Invocations
from fairlead.serve.edges.v1 import V1
from fairlead.serve.edges.v2 import V2


@dataclass(frozen=True, slots=True)
class Route:
    """``pattern`` as Starlette writes it, also the label in the metrics."""

    pattern: str
    edge: Edge


@dataclass(frozen=True, slots=True)
class Target:
    """Where one path leads."""

    route: Route
    endpoint: str | None = None
    version: str | None = None


_V2, _V1, _INVOCATIONS = V2(), V1(), Invocations()

INFERENCE: Final = (
    Route("/v2/models/{endpoint}/infer", _V2),
    Route("/v2/models/{endpoint}/versions/{version}/infer", _V2),
    Route("/v1/models/{endpoint}:predict", _V1),
    Route("/invocations", _INVOCATIONS),
    Route("/serving-endpoints/{endpoint}/invocations", _INVOCATIONS),
)

_SEGMENT: Final = r"(?P<\1>[^/?%]+)"
_COMPILED: Final = tuple((re.compile(re.sub(r"\{(\w+)\}", _SEGMENT, route.pattern)), route) for route in INFERENCE)


def match(path: bytes) -> Target | None:
    """The inference route of a raw path; None for every other path, and for one with a query or an escape."""
    try:
        text = path.decode("ascii")
    except UnicodeDecodeError:
        return None
    for pattern, route in _COMPILED:
        found = pattern.fullmatch(text)
        if found:
            return Target(route, **found.groupdict())
    return None
