"""Plugin contract: a detector finds what must not pass in a text. Entry-point group ``fairlead.guardrails``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Channel(StrEnum):
    """Where a text comes from. What a user says is never judged as if the system had said it."""

    SYSTEM = "system"
    USER = "user"
    TOOL = "tool"
    ANSWER = "answer"


class Finding(NamedTuple):
    """``kind``: ``email``, ``card``, ``injection``.  ``start``, ``end``: characters of the text.  ``score``: 0 to 1."""

    kind: str
    start: int
    end: int
    score: float


class Action(StrEnum):
    """What is done about a finding, from least to most."""

    FLAG = "flag"
    MASK = "mask"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """``threshold``: findings below it are none; None: the detector's own.  ``options``: checked by the detector."""

    name: str
    kinds: tuple[str, ...] = ()
    threshold: float | None = None
    options: Mapping[str, Any] | None = None


class Detector(Protocol):
    """Made with ``DetectorOptions``. ``reach``: characters that a finding is long, at most; 0: it judges whole texts.

    ``cost``: seconds for a thousand characters, about: cheap detectors are asked first.
    """

    name: str
    reach: int
    cost: float

    def find(self, text: str, channel: Channel) -> Sequence[Finding]:
        """What is in a text, in order, none overlapping another of the same kind. Pure; may be called in a thread."""


@runtime_checkable
class Eager(Protocol):
    """What a detector of bounded reach may know beside, so that streams wait for less than its whole reach."""

    def pending(self, text: str) -> int:
        """How many characters at the end of ``text`` may belong to a finding that is not whole yet."""

    def rest(self, kind: str, text: str, last: bool) -> tuple[int, bool]:
        """Of a kind that may be longer than ``reach``: how many characters at the start of ``text`` still belong to a
        finding that began before it, and whether it may go on after them.  ``last``: no text comes after this one.

        For every other kind, and only for those, an empty text gives ``(0, False)``.
        """


class RemoteDetector(Protocol):
    """The same, of another server. Raises Unavailable; whoever asks decides whether that lets the text pass."""

    name: str
    reach: int
    cost: float

    async def ask(self, text: str, channel: Channel, seconds: float) -> Sequence[Finding]: ...

    async def close(self) -> None: ...


class GuardMeter(Protocol):
    """Measures the guardrails of one language model. ``side``: ``input`` or ``output``."""

    def found(self, side: str, detector: str, kind: str, action: str, findings: int) -> None:
        """A detector found so many of one kind in a text, and this was done about them."""

    def looked(self, side: str, seconds: float) -> None:
        """A question, or an answer, was looked at; the seconds that it waited for that."""

    def missed(self, side: str, detector: str, why: str) -> None:
        """A detector said nothing: it was ``late`` or ``failed``."""


class Trainer(Protocol):
    """Makes the file of a detector of examples. Entry-point group ``fairlead.guardrail_trainers``, by the detector."""

    def __call__(self, examples: Sequence[Example], about: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any]]:
        """The file, and what it does on the examples that were held out. The same for the same examples.

        ``about``: written into the file, beside the figures. Raises InputError for too few examples.
        """


@dataclass(frozen=True, slots=True)
class Example:
    """``label``: a kind of the detector, or empty for what must pass.  ``group``: of those that are much alike; they
    are never on both sides of the split.  ``source``: where it is from.

    ``held``: only tested with; None: the split decides.
    """

    text: str
    label: str
    group: str = ""
    source: str = ""
    held: bool | None = None
