"""The stages that look at an endpoint's calls and their callers, and what lives beside the server for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fairlead.kit.config import Home
from fairlead.serve.front import Front
from fairlead.serve.line import Stage
from fairlead.serve.payloads import payloads
from fairlead.serve.server import Companion
from fairlead.wiring import callers
from fairlead.wiring.auditing import Auditing
from fairlead.wiring.watching import Watched


def before(
    home: Home, audit: Auditing, watched: Mapping[str, callers.Watched], front: Front, served: Watched, worker: str
) -> tuple[Callable[[str], Sequence[Stage]], list[Companion]]:
    """The stages of an endpoint, by its name. ``watched``: whose callers are looked at.  ``served``: what is kept."""
    sampling = callers.sampling(home, watched, served, front.pipeline.catalog, worker)

    def stages(endpoint: str) -> list[Stage]:
        found = []
        if front.audit is not None and audit.payloads:
            found.append(payloads(front.audit, endpoint, served.of(endpoint).keeping))
        if sampling is not None and endpoint in watched:
            found.append(sampling.stage(endpoint))
        return found

    return stages, [] if sampling is None else [sampling]
