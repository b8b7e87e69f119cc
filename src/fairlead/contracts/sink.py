"""Plugin contract: a sink takes measurements of the request path. Entry-point group ``fairlead.sinks``.

Called on the event loop for every call: it must not block, raise or keep a reference to its arguments.
"""

from __future__ import annotations

from typing import Protocol


class EndpointMeter(Protocol):
    """Measures one version of one endpoint; made once, so that a call costs no label look-up."""

    def answered(self, seconds: float, rows: int, queue: float, compute: float) -> None:
        """One call ended with a reply. ``seconds``: from arrival at the edge to the reply."""

    def failed(self, code: str, seconds: float) -> None:
        """One call ended with the error ``code`` (``contracts.errors``)."""

    def batch(self, rows: int, calls: int, seconds: float) -> None:
        """One batch ran."""

    def queue(self, rows: int, calls: int) -> None:
        """How much waits now."""


class Sink(Protocol):
    def endpoint(self, endpoint: str, version: str) -> EndpointMeter: ...

    def edge_error(self, route: str, code: str) -> None:
        """A request that failed before it had an endpoint; ``route`` is the pattern, not the path."""

    def ready(self, endpoint: str, version: str, ready: bool) -> None: ...

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""
