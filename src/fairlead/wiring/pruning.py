"""What the leader takes out of the state store each hour because nobody reads it any more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from fairlead.contracts.errors import Conflict
from fairlead.contracts.plans import ROUTE
from fairlead.contracts.state import Document, Lease, StateStore
from fairlead.monitor.findings import DAY_MS
from fairlead.orchestrate import looks

KEPT_DAYS: Final = 90
"""How long windows and looks are kept, which is what reports go back."""


def prune(state: StateStore, now_ms: int, fence: Callable[[], Lease]) -> None:
    """Windows that no report reaches back to, looks as old, and what workers said of splits that are over.

    Raises LeaseLost, and what the store raises.
    """

    def remove(one: Document) -> None:
        with contextlib.suppress(Conflict):  # it was written again
            state.remove(one.kind, one.key, one.revision, fence=fence())

    state.prune_windows(now_ms - KEPT_DAYS * DAY_MS)
    current = {one.key: one.revision for one in state.all("split")}
    for one in state.all("applied"):
        endpoint, _, place = one.key.rpartition("/")
        if one.at_ms < now_ms - DAY_MS and place != ROUTE and one.body.get("revision") != current.get(endpoint):
            remove(one)
    kept = {one.key for one in state.all("rollout")}
    for one in state.all(looks.KIND):
        if one.at_ms < now_ms - KEPT_DAYS * DAY_MS or one.key not in kept:
            remove(one)
