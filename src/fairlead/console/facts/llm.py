"""What the pages of language models show: answers, what they cost, what guards found; never a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.console.facts.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Speaker:
    """One language model in the time shown, out of its traces. Times in seconds at shares 0.5, 0.95 and 0.99.

    ``first``: to the first piece (TTFT); ``per_token``: for each one after it (TPOT).  ``cached``: answers by tier of
    the cache.  ``steps``: answers by who gave them, where a cascade or a route chose.
    """

    name: str
    answers: int
    failed: int
    first: tuple[float | None, float | None, float | None]
    per_token: tuple[float | None, float | None, float | None]
    seconds: tuple[float | None, float | None, float | None]
    prompt: int
    prompt_cached: int
    completion: int
    cached: tuple[tuple[str, int], ...]
    steps: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Guarded:
    """What a guardrail found at a side, how often, and what was done; ``missed``: why it did not answer."""

    name: str
    side: str
    detector: str
    kind: str
    action: str
    count: int


@dataclass(frozen=True, slots=True)
class Span:
    """One answer. ``id``: of the request.  ``cost_nano``: None where it has no price.  ``first``: seconds to it."""

    id: str
    name: str
    caller: str
    start_ms: int
    end_ms: int
    status: str
    outcome: str
    first: float | None
    per_token: float | None
    prompt: int
    completion: int
    cached: str
    by: str
    cost_nano: int | None
    currency: str


@dataclass(frozen=True, slots=True)
class Spent:
    """This month, as ``fairlead ledger show`` has it. ``cost``: decimal text, exact; empty where nothing was paid."""

    tenant: str
    key: str
    endpoint: str
    model: str
    answers: int
    input: int
    cached: int
    output: int
    reasoning: int
    cost: str
    currency: str


@dataclass(frozen=True, slots=True)
class Budget:
    """A balance. ``amount``, ``settled``, ``reserved``, ``left``: exact decimal texts in ``unit``; ``amount`` and
    ``left`` empty where no budget that is known here names it.  ``used``: share of the amount, None without one.
    """

    balance: str
    unit: str
    begins: str
    ends: str
    amount: str
    settled: str
    reserved: str
    left: str
    used: float | None
    answers: int


@dataclass(frozen=True, slots=True)
class LlmFacts:
    """``traced``: whether this home keeps traces.  ``cut``: older answers of this time were not read.

    ``more``: spans that are not listed.  ``month``: since when ``spent`` is (ISO 8601).
    """

    since_ms: int
    until_ms: int
    traced: bool
    cut: bool
    speakers: tuple[Speaker, ...]
    guarded: tuple[Guarded, ...]
    spans: tuple[Span, ...]
    more: int
    month: str
    spent: tuple[Spent, ...]
    budgets: tuple[Budget, ...]
    ledger: Trouble | None


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """All spans of one request, the outermost first. ``told``: of each, what its stages said."""

    id: str
    start_ms: int
    end_ms: int
    spans: tuple[Span, ...]
    told: tuple[tuple[tuple[str, str], ...], ...]


class Llms(Protocol):
    """Gives both pages. ``trace`` raises NotFound."""

    def llm(self, endpoint: str, since_ms: int, until_ms: int) -> LlmFacts: ...

    def trace(self, request_id: str) -> TraceFacts: ...
