"""What the gate is asked: a request before its body is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.serve.access.credentials import Certificate, Headers


class Asking(Protocol):
    """A request, as the gate sees it. ``arrived``: monotonic seconds."""

    @property
    def headers(self) -> Headers: ...
    @property
    def route(self) -> str:
        """The pattern of the route, or the path of the method."""

    @property
    def arrived(self) -> float: ...
    @property
    def request_id(self) -> str: ...
    @property
    def tells(self) -> bool:
        """Whether its refusal is its answer; else the same request is asked about once more."""

    def certificate(self) -> Certificate | None:
        """What its connection showed; None for nothing."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that is no call."""

    headers: Headers
    route: str
    arrived: float
    request_id: str
    shows: Certificate | None = None
    tells: bool = True

    def certificate(self) -> Certificate | None:
        return self.shows
