"""What came since the log was written last, in bounds however much came. Pure: times are passed in."""

from __future__ import annotations

from typing import Final

from fairlead.audit.entry import Noted
from fairlead.contracts.audit import Audited

REFUSALS: Final = 50
"""Different refusals of one second that are told apart; the rest are summed up by action and outcome."""
ACTS: Final = 10_000
"""Acts that wait for the writer, at most."""
SUMS: Final = 10_000
"""Different callers, actions and endpoints of a minute that are told apart."""
SECOND_MS: Final = 1_000
OTHERS: Final = "*"

_Alike = tuple[str, str, str, str, str]


class Folding:
    """Touched by one thread. A refusal is what was not allowed; identical ones of one second are one with a count."""

    def __init__(self) -> None:
        self.lost = 0
        """What there was no room for; whoever tells it puts it back to 0."""
        self._acts: list[Noted] = []
        self._refused: dict[_Alike, tuple[Audited, int, int]] = {}
        self._sums: dict[tuple[str, str, str], int] = {}

    def note(self, entry: Audited, at_ms: int) -> None:
        if entry.outcome == "allowed":
            if len(self._acts) < ACTS:
                self._acts.append(Noted(entry, at_ms))
            else:
                self.lost += 1
            return
        alike = (entry.actor, entry.action, entry.endpoint, entry.version, entry.outcome)
        known = self._refused.get(alike)
        if known is None and len(self._refused) >= REFUSALS:
            alike = (OTHERS, entry.action[:64], OTHERS, "", entry.outcome[:64])
            known = self._refused.get(alike)
            entry = Audited(OTHERS, alike[1], OTHERS, "", alike[4])
            if known is None and len(self._refused) >= 2 * REFUSALS:
                self.lost += 1
                return
        first, since, count = known or (entry, at_ms, 0)
        self._refused[alike] = (first, since, count + 1)

    def allowed(self, actor: str, action: str, endpoint: str) -> None:
        try:
            self._sums[actor, action, endpoint] += 1
        except KeyError:
            room = len(self._sums) < SUMS
            alike = (actor, action, endpoint) if room else (OTHERS, action, OTHERS)
            self._sums[alike] = self._sums.get(alike, 0) + 1

    def notes(self, now_ms: int, *, all_of_them: bool = False) -> list[Noted]:
        """Acts, and refusals whose second is over; they are forgotten here."""
        acts, self._acts = self._acts, []
        over = [
            alike
            for alike, (_, since, _) in self._refused.items()
            if all_of_them or now_ms - since >= SECOND_MS or now_ms < since
        ]
        refused = [self._refused.pop(alike) for alike in over]
        told = [*acts, *(Noted(entry, since, count) for entry, since, count in refused)]
        return sorted(told, key=lambda one: one.at_ms)

    def sums(self, now_ms: int) -> list[Noted]:
        """What was let in, by caller, action and endpoint; forgotten here."""
        sums, self._sums = self._sums, {}
        return [
            Noted(Audited(actor, action, endpoint), now_ms, count) for (actor, action, endpoint), count in sums.items()
        ]
