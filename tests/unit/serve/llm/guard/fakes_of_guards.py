"""Detectors, engines and meters for the tests of the guards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fairlead.contracts.engine import Event, Tell
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.generation import Begun, Ended, Generation, Message, Piece, Usage
from fairlead.contracts.guardrail import Action, Channel, DetectorOptions, Finding
from fairlead.serve.llm.ask import Ask, Notes
from fairlead.serve.llm.guard.pii.detector import Pii
from fairlead.serve.llm.guard.rules import Rule

ENDED = Ended("stop", Usage(input=3, output=5))


def pii(action: Action = Action.MASK, **given) -> Rule:
    return Rule("pii", action, Pii(DetectorOptions("pii")), **given)


class Judge:
    """Finds ``bad`` when the text has it."""

    name = "judge"
    reach = 0

    def __init__(self, bad: str = "evil", cost: float = 0.0) -> None:
        self.bad, self.cost = bad, cost
        self.asked: list[str] = []

    def find(self, text: str, channel: Channel) -> Sequence[Finding]:
        self.asked.append(text)
        return [Finding("bad", 0, len(text), 1.0)] if self.bad in text else []


class Remote:
    """The same, elsewhere."""

    name = "remote"
    cost = 0.05

    def __init__(self, bad: str = "evil", reach: int = 0, seconds: float = 0.0, fails: bool = False) -> None:
        self.bad, self.reach, self.seconds, self.fails = bad, reach, seconds, fails
        self.asked: list[str] = []

    async def ask(self, text: str, channel: Channel, seconds: float) -> Sequence[Finding]:
        self.asked.append(text)
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise Unavailable("away")
        at = text.find(self.bad)
        return [Finding("bad", at, at + len(self.bad), 1.0)] if at >= 0 else []

    async def close(self) -> None: ...


def judge(bad: str = "evil", action: Action = Action.BLOCK, cost: float = 0.0, **given) -> Rule:
    return Rule("judge", action, Judge(bad, cost), **given)


class Line:
    """The rest of a line: says ``events`` at once, or when it is told to."""

    def __init__(self, events: Sequence[Event] = (), at_once: bool = True) -> None:
        self.events, self.at_once = list(events), at_once
        self.asked: list[Generation] = []
        self.cancelled = 0
        self.tell: Tell | None = None

    def __call__(self, ask: Ask, tell: Tell) -> Line:
        self.asked.append(ask.generation)
        self.tell = tell
        if self.at_once:
            for event in self.events:
                tell(event)
        return self

    def cancel(self) -> None:
        self.cancelled += 1


def ask(prompt: object = "hello", streams: bool = True) -> Ask:
    messages = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    return Ask(Generation("1", "m", messages), 0.0, "r", streams=streams, notes=Notes())  # type: ignore[arg-type]


def text_of(events: Sequence[Event]) -> str:
    return "".join(one.text for one in events if isinstance(one, Piece))


def pieces(*texts: str) -> list[Event]:
    return [Begun(Usage(input=3)), *(Piece(one) for one in texts), ENDED]


async def settle(held: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(500):
        if held():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come")
