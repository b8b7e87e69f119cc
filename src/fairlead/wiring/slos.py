"""What the spec promises of an endpoint, as objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairlead.monitor.burn import Objective

if TYPE_CHECKING:
    from fairlead.kit.spec.spec import Endpoint


def objectives(endpoint: Endpoint) -> list[Objective]:
    """Those of an endpoint; none where it has no ``slo``."""
    slo, found = endpoint.slo, []
    if slo is not None and slo.availability is not None:
        found.append(Objective("availability", slo.availability, slo.window))
    if slo is not None and slo.latency_ms is not None:
        what = "first tokens" if endpoint.speaks and endpoint.embedding is None else "answers"
        found.append(Objective("latency", slo.latency_share, slo.window, slo.latency_ms / 1000, what))
    return found
