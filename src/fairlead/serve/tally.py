"""What the workers of one server measured: the last word of each, and the sum of those that are gone.

When a worker is asked for the metrics of all, it asks here; the others are asked in turn, and who does not answer in
time is counted as it last said. Pure: whoever drives it sends the messages and keeps the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fairlead.contracts.sink import Part


@dataclass(slots=True)
class Asked:
    """One scrape that waits. ``asker``: the process that was asked; ``awaited``: whose answer is missing."""

    asker: int
    number: int
    awaited: set[int]


class Tally:
    """``merge`` adds expositions up (``Sink.merge``). Processes go by their own id, unique over the server's life."""

    def __init__(self, merge: Callable[[Sequence[Part]], bytes]) -> None:
        self._merge = merge
        self._last: dict[int, bytes] = {}
        self._gone = b""
        self.waiting: list[Asked] = []

    def said(self, process: int, text: bytes) -> list[Asked]:
        """What a process measured so far; the scrapes that miss nobody any more are given back."""
        self._last[process] = text
        return self._without(process)

    def ended(self, process: int) -> list[Asked]:
        """It is gone; what it counted stays. The scrapes that miss nobody any more are given back."""
        text = self._last.pop(process, b"")
        if text:
            self._gone = self._merge([Part("", self._gone, gone=True), Part("", text, gone=True)])
        self.waiting = [asked for asked in self.waiting if asked.asker != process]
        return self._without(process)

    def ask(self, asker: int, number: int, others: Iterable[int]) -> Asked:
        """A scrape begins; ``others``: who is asked."""
        asked = Asked(asker, number, set(others))
        self.waiting.append(asked)
        return asked

    def give_up(self, asked: Asked) -> bool:
        """Its time is over; False when it was answered before."""
        if asked not in self.waiting:
            return False
        self.waiting.remove(asked)
        return True

    def parts(self, names: Iterable[tuple[int, str, bool]], but: int) -> list[Part]:
        """What all but one measured. ``names``: of each process its id, its worker's name, whether it is leaving."""
        parts = [Part("", self._gone, gone=True)] if self._gone else []
        for process, name, leaving in names:
            if process != but and process in self._last:
                parts.append(Part(name, self._last[process], gone=leaving))
        return parts

    def _without(self, process: int) -> list[Asked]:
        done = []
        for asked in self.waiting:
            asked.awaited.discard(process)
            if not asked.awaited:
                done.append(asked)
        self.waiting = [asked for asked in self.waiting if asked.awaited]
        return done
