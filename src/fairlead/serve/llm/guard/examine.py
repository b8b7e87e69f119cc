"""Asks detectors about whole texts, cheap ones first, within a budget of time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.guardrail import Action, Channel
from fairlead.serve.llm.guard.masks import Label, masked, stretches
from fairlead.serve.llm.guard.rules import Found, Rule, found, ordered

LATE: Final = "late"
FAILED: Final = "failed"
INLINE: Final = 0.002
"""Seconds that local detectors may take on the event loop, by what they say of their cost; longer goes to a thread."""


class Said(NamedTuple):
    channel: Channel
    text: str


@dataclass(slots=True)
class Verdict:
    """``texts``: what may go on.  ``blocked``: why nothing may; its texts are not all looked at.

    ``missed``: detectors that said nothing, with ``late`` or ``failed``, and the text passed all the same.
    ``refused``: one of those whose silence stops the text.
    """

    texts: list[Said]
    found: list[Found] = field(default_factory=list)
    blocked: Found | None = None
    missed: dict[str, str] = field(default_factory=dict)
    refused: FairleadError | None = None

    @property
    def over(self) -> bool:
        return self.blocked is not None or self.refused is not None


class Examiner:
    """Of one list of rules. ``budget``: seconds for one examination.

    What another server is asked about has been masked by what is asked here.
    """

    def __init__(self, rules: Sequence[Rule], budget: float, clock: Callable[[], float]) -> None:
        self._rules = ordered(rules)
        self._budget = budget
        self._clock = clock

    def __bool__(self) -> bool:
        return bool(self._rules)

    def quick(self, characters: int) -> bool:
        """Whether ``now`` may be asked about so much."""
        if any(rule.remote is not None for rule in self._rules):
            return False
        return sum(rule.detector.cost for rule in self._rules) * characters / 1000 <= INLINE

    def now(self, texts: Sequence[Said], name: Label) -> Verdict:
        """On the event loop."""
        verdict = Verdict(list(texts))
        places: Places = [[] for _ in texts]
        for rule in self._rules:
            try:
                many = [_local(rule, said) for said in texts]
            except Exception:  # noqa: BLE001 - a stranger's detector
                self._missed(verdict, rule, FAILED)
            else:
                _apply(verdict, places, many)
            if verdict.over:
                return verdict
        _mask(verdict, places, name)
        return verdict

    async def later(self, texts: Sequence[Said], name: Label, until: float = float("inf")) -> Verdict:
        """In threads, and of other servers. ``until``: seconds of the clock, where that is before the budget ends."""
        end = min(self._clock() + self._budget, until)
        verdict = Verdict(list(texts))
        for remote in (False, True):
            rules = [rule for rule in self._rules if (rule.remote is not None) is remote]
            places: Places = [[] for _ in texts]
            await self._ask(verdict, places, rules, end)
            if verdict.over:
                break
            _mask(verdict, places, name)
        return verdict

    async def _ask(self, verdict: Verdict, places: Places, rules: Sequence[Rule], end: float) -> None:
        texts = list(verdict.texts)
        for rule in rules:
            left = end - self._clock()
            why = LATE
            if left > 0:
                try:
                    async with asyncio.timeout(left):
                        many = await _answers(rule, texts, left)
                except TimeoutError:
                    pass
                except Exception:  # noqa: BLE001 - Unavailable, or a stranger's detector that raises
                    why = FAILED
                else:
                    why = ""
                    _apply(verdict, places, many)
            if why:
                self._missed(verdict, rule, why)
            if verdict.over:
                return

    def _missed(self, verdict: Verdict, rule: Rule, why: str) -> None:
        verdict.missed[rule.name] = why
        if not rule.opens:
            told = "did not answer" if why == FAILED else f"took longer than {self._budget * 1000:g} ms"
            verdict.refused = Unavailable(f"guardrail {rule.name} {told}, and nothing passes without it", retry_after=1)


Places = list[list[Found]]
"""What was found, by text."""


async def _answers(rule: Rule, texts: Sequence[Said], seconds: float) -> Places:
    if rule.remote is None:
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(None, _local, rule, said) for said in texts]
    told = []
    for said in texts:
        asked = said.channel in rule.channels and said.text
        many = await rule.remote.ask(said.text, said.channel, seconds) if asked else ()
        told.append(found(rule, many, len(said.text)))
    return told


def _local(rule: Rule, said: Said) -> list[Found]:
    if rule.local is None or said.channel not in rule.channels or not said.text:
        return []
    return found(rule, rule.local.find(said.text, said.channel), len(said.text))


def _apply(verdict: Verdict, places: Places, many: Places) -> None:
    for place, here in zip(places, many, strict=True):
        place.extend(here)
    told = [one for here in many for one in here]
    verdict.found += told
    blocks = [one for one in told if one.action is Action.BLOCK]
    if blocks:
        verdict.blocked = max(blocks, key=lambda one: one.score)


def _mask(verdict: Verdict, places: Places, name: Label) -> None:
    verdict.texts = [
        said._replace(text=masked(said.text, stretches(here), name)) if here else said
        for said, here in zip(verdict.texts, places, strict=True)
    ]
