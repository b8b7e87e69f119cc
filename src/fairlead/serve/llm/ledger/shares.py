"""Budgets that several machines share: each spends from shares that it took of them, and never gives back.

What was taken of a budget in a window is one document of the state store, changed by compare-and-set, and all shares
together are never more than the budget has. So machines ask one another nothing while they answer, and what they spend
together keeps the bound that each of them keeps. What a machine took and does not use is used by nobody: shares become
smaller as a budget runs out, an eighth of what is left each time.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

from fairlead.contracts.errors import Conflict, FairleadError, Unavailable
from fairlead.contracts.ledger import Line
from fairlead.contracts.state import StateStore

KIND: Final = "ledger-share"
PART: Final = 8
"""Of what is left this part is taken at once."""
_TRIES: Final = 20
_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_KNOWN: Final = 20_000


class Shares:
    """``machine``: the name of this one. Blocks, and is called from threads; ``granted`` does not."""

    def __init__(self, state: StateStore, machine: str) -> None:
        self._state, self._machine = state, machine
        self._granted: dict[tuple[str, int], int] = {}
        self._pruned = 0

    def granted(self, line: Line) -> int:
        """What this machine may spend in the line's window, as far as this process knows."""
        return min(line.most, self._granted.get((line.key, line.begins), 0))

    def more(self, line: Line, used: int, now_ms: int) -> bool:
        """Take enough for the line beside what is ``used`` (settled and reserved here); whether there is.

        ``line.most``: what the whole budget has. Raises Unavailable, StateError and StorageFull.
        """
        place, name = (line.key, line.begins), f"{line.key}@{line.begins}"
        need = used + line.worst
        for _ in range(_TRIES):
            document = self._state.get(KIND, name)
            body: dict[str, Any] = document.body if document else {"granted": {}}
            granted: dict[str, int] = body["granted"]
            own, free = granted.get(self._machine, 0), line.most - sum(granted.values())
            if own >= need:  # another worker of this machine took it
                self._know(place, own)
                return True
            if own + free < need:
                self._know(place, own)
                return False
            own += min(free, max(need - own, free // PART))
            told = {"granted": granted | {self._machine: own}, "ends": line.ends}
            try:
                self._state.put(KIND, name, told, document.revision if document else 0)
            except Conflict:
                continue  # another machine was quicker: once more, on what it left
            self._know(place, own)
            self._prune(now_ms)
            return True
        raise Unavailable(f"shares of budget {line.key!r} change all the time; try again", retry_after=1)

    def _know(self, place: tuple[str, int], own: int) -> None:
        if len(self._granted) >= _KNOWN:
            self._granted.clear()  # asked for again where it is needed
        self._granted[place] = max(own, self._granted.get(place, 0))

    def _prune(self, now_ms: int) -> None:
        """Take away shares of windows that have passed for a day. Now and then."""
        if now_ms - self._pruned < _HOUR_MS:
            return
        self._pruned = now_ms
        with contextlib.suppress(FairleadError):  # the next one does it
            for one in self._state.all(KIND):
                if one.body.get("ends", 0) < now_ms - _DAY_MS:
                    self._state.remove(KIND, one.key, one.revision)
