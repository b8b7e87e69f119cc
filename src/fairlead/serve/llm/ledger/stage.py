"""The stage that reserves the worst case before a token is made, and settles what it was in the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from fairlead.contracts.engine import Engine, EngineTraits, Running, Tell
from fairlead.contracts.errors import FairleadError, InvalidParameter, ModelFailed
from fairlead.contracts.generation import Begun, Piece, Usage
from fairlead.contracts.ledger import Hold, How, Price, Refusal, Reservation
from fairlead.kit.money import decimal
from fairlead.kit.sentences import cause
from fairlead.serve.llm import worst
from fairlead.serve.llm.ask import COST, CURRENCY, OVER, Ask, Enter, Later, Notes
from fairlead.serve.llm.charged import Charged
from fairlead.serve.llm.ledger import prices
from fairlead.serve.llm.ledger.ledger import Ledger, Quote

HEADER: Final = "fairlead-cost"
MOST: Final = 10**9
"""Tokens of one class that an answer can have."""
PACE: Final = 8
"""Tokens of an answer, at most, that are not told to the store while it is made."""


class LedgerStage:
    """``names``: of the model in the price book, the likeliest first."""

    def __init__(self, ledger: Ledger, endpoint: str, names: tuple[str, ...], engine: Engine) -> None:
        self._ledger, self._endpoint, self._names, self._engine = ledger, endpoint, names, engine
        self._traits: EngineTraits | None = None

    def stage(self, after: Enter) -> Enter:
        return lambda ask, tell: self._enter(ask, tell, after)

    def _enter(self, ask: Ask, tell: Tell, after: Enter) -> Running:
        try:
            quote = self._ledger.quote(ask.caller, self._endpoint, self._names)
            found = self._reserve(ask, quote)
        except FairleadError as error:
            tell(error)
            return OVER
        if isinstance(found, Refusal):
            refused = None if self._may_fit(ask, quote, found) else self._refused(ask, quote, found)
            if refused is not None:
                tell(refused)
                return OVER
            return self._later(ask, quote, tell, after)
        return _Answer(self._ledger, ask, quote.price, found, tell, self._local()).begin(after)

    def _local(self) -> bool:
        return self._known().local

    def _known(self) -> EngineTraits:
        """Complete: an engine that is asked was started."""
        if self._traits is None:
            self._traits = self._engine.traits
        return self._traits

    def _reserve(self, ask: Ask, quote: Quote) -> Hold | Refusal | Reservation:
        """Raises InvalidParameter and Unavailable."""
        prompt, answer = self._bounds(ask, quote)
        return self._ledger.reserve(ask.request_id[:128], quote, prompt, answer)

    def _bounds(self, ask: Ask, quote: Quote) -> tuple[int, int]:
        """Tokens of the prompt and of the answer, at most; together no more than the model takes."""
        context, known = self._known().context, ask.prompt >= 0
        prompt = ask.prompt if known else worst.prompt_bound(ask.generation)
        if context and not known:
            prompt = min(prompt, context)
        try:
            answer = worst.answer_bound(ask.generation, context, prompt, known=known)
        except InvalidParameter:
            if quote.opened.hard:
                raise
            return prompt, 0
        if context and prompt + answer > context:  # the dearer of the two takes what there is
            price = quote.price
            if price is not None and max(price.input, price.cached) > max(price.output, price.reasoning):
                return prompt, context - prompt
            return context - answer, answer
        return prompt, answer

    def _countable(self, ask: Ask, quote: Quote, found: Refusal) -> bool:
        """Whether counting the prompt could make it fit: its bytes are the most that it can be."""
        if ask.prompt >= 0 or not self._known().local:
            return False
        one, (_, answer) = quote.opened.budgets[found.line], self._bounds(ask, quote)
        least = prices.worst(quote.price, 0, answer) if one.money and quote.price else answer
        return found.settled + found.reserved + least <= one.budget.amount

    def _may_fit(self, ask: Ask, quote: Quote, found: Refusal) -> bool:
        share = self._ledger.share(quote, found, *self._bounds(ask, quote))
        return share is not None or self._countable(ask, quote, found)

    def _refused(self, ask: Ask, quote: Quote, found: Refusal) -> FairleadError:
        prompt, answer = self._bounds(ask, quote)
        if ask.prompt < 0 and self._known().local:
            prompt = 0  # nobody has counted it, for the answer alone is too much: its bytes would be a wrong reason
        one = quote.opened.budgets[found.line]
        told = prices.worst(quote.price, prompt, answer) if one.money and quote.price else prompt + answer
        return self._ledger.refused(quote, found, told)

    async def _found(self, ask: Ask, quote: Quote) -> tuple[Ask, Hold | Reservation]:
        """Reserved after all: once the prompt was counted, or a larger share was taken. Raises what it ends with."""
        loop = asyncio.get_running_loop()
        while True:
            found = self._reserve(ask, quote)
            if not isinstance(found, Refusal):
                return ask, found
            if self._countable(ask, quote, found):
                ask = replace(ask, prompt=await self._engine.count(ask.generation))
                continue
            share = self._ledger.share(quote, found, *self._bounds(ask, quote))
            if share is None or not await loop.run_in_executor(
                None, self._ledger.take_share, share, found, quote.at_ms
            ):
                raise self._refused(ask, quote, found)

    def _later(self, ask: Ask, quote: Quote, tell: Tell, after: Enter) -> Running:
        async def find() -> None:
            try:
                exact, found = await self._found(ask, quote)
            except Exception as error:  # noqa: BLE001 - every answer ends, whatever an engine raises
                hear(error if isinstance(error, FairleadError) else ModelFailed(f"nobody counts it: {cause(error)}"))
                return
            answer = _Answer(self._ledger, exact, quote.price, found, hear, self._local())
            later.then(answer if later.cancelled else answer.begin(after))

        task = asyncio.get_running_loop().create_task(find())

        def stop() -> None:
            task.cancel()

        later = Later(stop)  # the task runs later, and finds it
        hear = later.hearing(tell)
        return later


class _Answer(Charged):
    """One that was paid for in advance."""

    __slots__ = ("_held", "_ledger", "_local", "_next", "_price")

    def __init__(
        self, ledger: Ledger, ask: Ask, price: Price | None, held: Hold | Reservation, tell: Tell, local: bool
    ) -> None:
        super().__init__(ask, tell)
        self._ledger, self._price, self._held, self._local = ledger, price, held, local
        self._next = 1
        if isinstance(held, Hold) and held.over:
            ask.notes.facts["over_budget"] = True

    def asked(self) -> bool:
        return not self._local  # a server that was asked has to be paid for the prompt

    def heard(self, event: Begun | Piece) -> None:
        seen = self.seen
        if seen.output >= self._next or type(event) is Begun:
            self._next = seen.output + PACE
            self._progress(seen.usage())

    def _progress(self, usage: Usage) -> None:
        held = self._held
        if type(held) is Hold:
            self._ledger.store.progress(held, usage, prices.cost(self._price, usage) if self._price else 0)

    def settle(self, usage: Usage, how: How) -> None:
        if min(usage) < 0 or max(usage) > MOST:  # an engine elsewhere may say anything
            usage = Usage(*(min(max(0, count), MOST) for count in usage))
        price = self._price
        cost = prices.cost(price, usage) if price else 0
        self._ledger.settle(self._held, usage, cost, how)
        if price:
            _note(self.ask.notes, cost, price.currency)


def _note(notes: Notes, cost: int, currency: str) -> None:
    """Several answers of one request are added up."""
    facts = notes.facts
    known = facts.get("cost_nano", 0)
    total = facts["cost_nano"] = cost + (known if isinstance(known, int) else 0)
    told = decimal(total)
    facts[COST], facts[CURRENCY] = told, currency
    notes.headers[HEADER] = f"{told} {currency}"
