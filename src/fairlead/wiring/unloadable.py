"""Whether a rollout's candidate loads anywhere, by what workers said of its split."""

from __future__ import annotations

from typing import Final

from fairlead.contracts.plans import ROUTE
from fairlead.contracts.state import StateStore
from fairlead.contracts.target import ARMS
from fairlead.orchestrate import commands
from fairlead.orchestrate.rollout import Phase

PATIENCE_MS: Final = 30_000
"""Before a candidate that nobody could load is given up: a worker tries again after a few seconds."""
_ALIVE_MS: Final = 120_000


def unloadable(state: StateStore, endpoint: str, now_ms: int) -> str:
    """Why no worker can load the candidate of the rollout that runs; empty while that is not known.

    A server that answers for one arm loads that arm's version only, and the champion's a shadow beside it.
    """
    split = state.get("split", endpoint)
    claim = state.get("rollout-of", endpoint)
    if split is None or claim is None or not claim.body.get("rollout"):
        return ""
    rollout = commands.running(state, endpoint)
    if rollout.phase not in (Phase.SHADOW, Phase.CANARY) or rollout.wish is not None or rollout.pending:
        return ""
    if now_ms - split.at_ms < PATIENCE_MS:
        return ""
    shadows = rollout.phase is Phase.SHADOW and rollout.plan.shadow > 0.0
    idle = () if shadows else (ARMS[0],)
    said = [one for one in state.all("applied") if one.key.rpartition("/")[0] == endpoint]
    here = [
        one.body
        for one in said
        if one.body.get("revision") == split.revision
        and not one.key.endswith(f"/{ROUTE}")
        and one.body.get("arm") not in idle
    ]
    errors = [str(one["error"]) for one in here if now_ms - int(one.get("at_ms", 0)) < _ALIVE_MS]
    return errors[0] if errors and all(one["error"] for one in here) else ""
