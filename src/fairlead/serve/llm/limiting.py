"""The stage that charges requests and tokens to the limits of a caller, and gives back what was not taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from fairlead.contracts.engine import Engine, Running, Tell
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import How
from fairlead.serve.limits.account import Account
from fairlead.serve.limits.buckets import Costs
from fairlead.serve.limits.limiter import Limiter, Permit
from fairlead.serve.llm import worst
from fairlead.serve.llm.ask import OVER, Ask, Enter, Later
from fairlead.serve.llm.charged import Charged


class LimitStage:
    """Tokens are charged as the caller asks for them: the prompt, as counted or guessed, and the longest answer."""

    def __init__(self, limiter: Limiter, endpoint: str, engine: Engine) -> None:
        self._limiter, self._endpoint, self._engine = limiter, endpoint, engine
        self._waiting: set[asyncio.Task[None]] = set()
        """Tasks, which the loop alone would forget."""

    def stage(self, after: Enter) -> Enter:
        return lambda ask, tell: self._enter(ask, tell, after)

    def _enter(self, ask: Ask, tell: Tell, after: Enter) -> Running:
        if ask.through:  # counted where the caller asked
            return after(ask, tell)
        limiter = self._limiter
        permit = limiter.permit(ask.caller, self._endpoint)
        account = permit.account
        if account is None or not account.buckets:
            return after(ask, tell)
        costs = self._costs(ask, account)
        try:
            waiting = limiter.charge(permit, costs)
        except FairleadError as error:
            permit.release()
            tell(error)
            return OVER
        if waiting is None:
            return self._let_in(ask, tell, after, permit, costs[3])
        return self._later(ask, tell, after, permit, costs[3], waiting)

    def _costs(self, ask: Ask, account: Account) -> Costs:
        requests, size = (1, ask.size) if ask.first else (0, 0)
        if not account.tokens:
            return requests, 0, size, 0
        asked = ask.generation
        prompt = ask.prompt if ask.prompt >= 0 else worst.prompt_guess(asked)
        most, context = asked.sampling.most, self._engine.traits.context
        if most is None:  # nobody named a number: no more is charged than can be had at once
            most = max(1, account.burst - prompt)
        return requests, 0, size, prompt + (min(most, max(0, context - prompt)) if context else most)

    def _let_in(self, ask: Ask, tell: Tell, after: Enter, permit: Permit, tokens: int) -> Running:
        if permit.allowance is not None:
            ask.notes.allowance = permit.allowance
        account = permit.account
        if account is None or not (account.tokens or account.flying):
            return after(ask, tell)
        return _Answer(self._limiter, ask, tell, permit, tokens).begin(after)

    def _later(
        self, ask: Ask, tell: Tell, after: Enter, permit: Permit, tokens: int, waiting: Awaitable[None]
    ) -> Running:
        """Other servers are asked first."""

        async def wait() -> None:
            try:
                await waiting
            except FairleadError as error:
                permit.release()
                hear(error)
                return
            except BaseException:
                permit.release()
                raise
            if later.cancelled:
                self._limiter.give_back(permit, tokens)
                permit.release()
                return
            later.then(self._let_in(ask, hear, after, permit, tokens))

        later = Later()  # what was asked is asked to the end: what others let in is given back
        hear = later.hearing(tell)
        task = asyncio.get_running_loop().create_task(wait())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return later


class _Answer(Charged):
    """One whose tokens were charged in advance."""

    __slots__ = ("_limiter", "_permit", "_tokens")

    def __init__(self, limiter: Limiter, ask: Ask, tell: Tell, permit: Permit, tokens: int) -> None:
        super().__init__(ask, tell)
        self._limiter, self._permit, self._tokens = limiter, permit, tokens

    def settle(self, usage: Usage, how: How) -> None:  # noqa: ARG002 - what was taken is given back however it ended
        self._limiter.give_back(self._permit, self._tokens - sum(usage))
        self._permit.release()
