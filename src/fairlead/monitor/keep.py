"""Hands recorded calls to the event store, and lets the old ones go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.events import Columns, EventStore
from fairlead.kit.clock import Clock

PRUNE_SECONDS: Final = 3600.0


class Keeper:
    """A Recorder. ``keep_ms``: how long an endpoint's events are kept; 0: for ever."""

    def __init__(self, events: EventStore, keep_ms: Callable[[str], int], clock: Clock) -> None:
        self._events = events
        self._keep_ms = keep_ms
        self._clock = clock
        self._pruned: dict[str, float] = {}
        self.trouble = ""

    def record(self, batch: Sequence[Columns]) -> None:
        """Durable when it returns. Raises what the store raises."""
        if not batch:
            return
        self._events.append(batch)
        for endpoint in {columns.endpoint for columns in batch}:
            kept, last = self._keep_ms(endpoint), self._pruned.setdefault(endpoint, self._clock.now())
            if kept and self._clock.now() - last >= PRUNE_SECONDS:
                self._pruned[endpoint] = self._clock.now()
                self._prune(endpoint, self._clock.wall_ms() - kept)

    def _prune(self, endpoint: str, before_ms: int) -> None:
        """What cannot be dropped is tried again in an hour; the batch that was just kept stays kept."""
        try:
            self._events.prune(endpoint, before_ms)
            self.trouble = ""
        except FairleadError as error:
            self.trouble = f"old events stay: {error}"

    def close(self) -> None:
        self._events.close()
