"""Plugin contract: a detector finds what must not pass in a text. Entry-point group ``fairlead.guardrails``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol


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


class RemoteDetector(Protocol):
    """The same, of another server. Raises Unavailable; whoever asks decides whether that lets the text pass."""

    name: str
    reach: int
    cost: float

    async def ask(self, text: str, channel: Channel, seconds: float) -> Sequence[Finding]: ...

    async def close(self) -> None: ...
