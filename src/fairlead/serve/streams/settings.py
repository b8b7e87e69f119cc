"""What a stream worker is told, and what it works between."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairlead.contracts.broker import Place, Source, Target
from fairlead.contracts.errors import UsageError
from fairlead.serve.streams.deciding import Patience, Wait


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """``in_flight``: most messages in hand.  ``grace``: seconds from a stop to the end, at most.

    ``report``: seconds between two lines of the log that say how it goes.  ``wait``: for a broker that is away.
    """

    in_flight: int = 512
    patience: Patience = field(default_factory=Patience)
    grace: float = 25.0
    report: float = 10.0
    wait: Wait = Wait()

    def __post_init__(self) -> None:
        if not 1 <= self.in_flight <= 65_536:
            raise UsageError(f"--in-flight is {self.in_flight}; expected 1 to 65,536 messages")
        if not 0 <= self.grace <= 3600:
            raise UsageError(f"--grace is {self.grace:g}; expected 0 to 3600 seconds")


@dataclass(frozen=True, slots=True)
class Ends:
    """What a worker reads and writes, opened. ``dead``: without it, who waits for an answer is told the error."""

    input: Place
    group: str
    source: Source
    output: Place
    answers: Target
    dead: Target | None = None
    dead_place: Place | None = None
