"""Decides whether a call is within all of its limits, and charges all of them or none.

A call that is refused costs nothing. Calls in flight are given back when the call has its outcome, whatever it is.
Where the limits are shared with other servers, a call asks them and becomes a coroutine; what they let in is counted
here too, so that this machine knows how things stand when it must go on alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import RateLimited, Unavailable
from fairlead.contracts.limits import Charge, Verdict
from fairlead.kit.clock import Clock
from fairlead.kit.gcra import SECOND
from fairlead.serve.call import Allowance, Call
from fairlead.serve.limits.account import Account, Told
from fairlead.serve.limits.book import Alone, Book
from fairlead.serve.limits.buckets import AnyBucket, Costs, Counted, buckets
from fairlead.serve.limits.rules import Rules
from fairlead.serve.line import Stage

KEPT: Final = 8192
"""Accounts from which on idle ones are looked for and forgotten."""

Refused = Callable[[str, str, str], None]
"""A call was refused: of which endpoint, whose limit (``Bucket.scope``), and which (``Bucket.kind``)."""


class Others(Protocol):
    """Servers that share the limits."""

    def take(self, charges: list[Charge]) -> Awaitable[Verdict | None] | None:
        """None, at once or later: they cannot be asked now."""

    def owe(self, charges: list[Charge]) -> None:
        """What was let in without them."""

    def give(self, charges: list[Charge]) -> None:
        """What was charged and not taken: costs below 0."""


class Asking(Protocol):
    """What is let in: a ``Call``, or a ``Permit``."""

    allowance: Allowance | None

    def before(self, then: Callable[[object], None]) -> None:
        """Call this when it has its outcome."""


class Permit:
    """Something that is no ``Call``; ``release`` it when it is over."""

    def __init__(self) -> None:
        self.allowance: Allowance | None = None
        self.account: Account | None = None
        """Whose limits it was charged to, and ``since`` when (milliseconds since 1970); None where there are none."""
        self.since = 0
        self._then: Callable[[object], None] | None = None

    def before(self, then: Callable[[object], None]) -> None:
        self._then = then

    def release(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(self)


class Limiter:
    """One for a server or worker. ``book``: where it is counted.  ``others``: servers that share the limits."""

    def __init__(
        self, rules: Rules, clock: Clock, told: Refused, book: Book | None = None, others: Others | None = None
    ) -> None:
        self.rules = rules
        self._clock, self._told, self._others = clock, told, others
        self._book: Book = book or Alone()
        self._accounts: dict[str, dict[str, Account]] = {}
        self._buckets: dict[str, AnyBucket] = {}
        self._count, self._most = 0, KEPT

    def stage(self, endpoint: str) -> Stage | None:
        """What stands first in the line of this endpoint's versions; None where nothing can be over a limit."""
        if not self.rules.limit(endpoint):
            return None
        accounts = self._accounts.setdefault(endpoint, {})
        take, alone = self._book.take, self._others is None
        clock, calendar = self._clock.now, self._clock.wall_ms

        def limit(call: Call) -> Awaitable[None] | None:
            if not call.metered:
                return None
            call.metered = False
            caller = call.caller
            account = accounts.get("" if caller is None else caller.name)
            if account is None or account.caller is not caller:
                account = self._account(endpoint, caller)
            if not account.buckets:
                return None
            costs = (1, call.rows, call.size, 0)
            if not alone:
                return self._charge(account, costs, call)
            now, wall = int(clock() * SECOND), calendar() if account.dated else 0
            if not take(account.buckets, costs, now, wall):
                raise self._refused(account, account.buckets, costs, now, wall)
            if account.flying:
                call.before(partial(self._land, account))
            call.allowance = account
            return None

        return limit

    async def admit(self, caller: Caller | None, endpoint: str, rows: int, size: int) -> Permit:
        """The same for what is no call of a model. ``endpoint``: empty for what belongs to none. Raises RateLimited."""
        permit = self.permit(caller, endpoint)
        try:
            waiting = self.charge(permit, (1, rows, size, 0))
            if waiting is not None:
                await waiting
        except BaseException:
            permit.release()
            raise
        return permit

    def permit(self, caller: Caller | None, endpoint: str) -> Permit:
        """Before anything is charged."""
        permit = Permit()
        if self.rules.limit(endpoint):
            account = self._accounts.get(endpoint, {}).get("" if caller is None else caller.name)
            if account is None or account.caller is not caller:
                account = self._account(endpoint, caller)
            permit.account = account
        return permit

    def charge(self, permit: Permit, costs: Costs) -> Awaitable[None] | None:
        """All limits of a permit; to be awaited where other servers are asked. Raises RateLimited and Unavailable."""
        if permit.account is None:
            return None
        permit.since = self._clock.wall_ms()
        return self._charge(permit.account, costs, permit)

    def give_back(self, permit: Permit, tokens: int) -> None:
        """Of the tokens that were charged so many were not taken; below 0: so many more were."""
        account = permit.account
        if account is None or not account.tokens or not tokens:
            return
        self._book.give(account.tokens, tokens, permit.since, *self._now())
        if self._others is not None:
            now = [one for one in account.tokens if type(one) is not Counted or one.begins <= permit.since]
            self._others.give([Charge(one.key, one.limit, -tokens) for one in now])

    def settle(self) -> None:
        """Keep what was counted of the quotas; called every second, and at the end."""
        now, wall = self._now()
        self._book.settle([one for one in self._buckets.values() if type(one) is Counted], now, wall)

    def troubles(self) -> list[str]:
        return self._book.troubles()

    def _charge(self, account: Account, costs: Costs, asking: Asking) -> Awaitable[None] | None:
        """All limits, with other servers where there are some. Raises RateLimited and Unavailable."""
        others = self._others
        if others is None or not account.lasting:
            self._here(account, account.buckets, costs, asking)
            return None
        if account.flying:  # before others are asked: what is refused here costs nothing there
            now, wall = self._now()
            if not self._book.take(account.flying, costs, now, wall):
                raise self._refused(account, account.flying, costs, now, wall)
            asking.before(partial(self._land, account))
        waiting = others.take(account.charges(costs))
        if waiting is None:
            self._here(account, account.lasting, costs, asking)
            return None
        return self._asked(account, costs, asking, waiting)

    async def _asked(self, account: Account, costs: Costs, asking: Asking, waiting: Awaitable[Verdict | None]) -> None:
        verdict = await waiting
        if verdict is None:
            self._here(account, account.lasting, costs, asking)
        elif verdict.refused >= 0:
            one = account.lasting[verdict.refused]
            self._told(account.endpoint, one.scope, one.kind)
            raise account.refusal(one, verdict.wait, costs[one.measure], verdict.left)
        else:
            self._book.force(account.lasting, costs, *self._now())
            asking.allowance = Told(account, verdict.left)

    def _here(self, account: Account, found: tuple[AnyBucket, ...], costs: Costs, asking: Asking) -> None:
        """Decide by what is counted on this machine. Raises RateLimited; Unavailable where others must be asked."""
        others = self._others
        if others is not None and account.lasting and self.rules.closed:
            raise Unavailable(
                "limits are shared, and the store that counts them does not answer; try again", retry_after=1
            )
        now, wall = self._now()
        if not self._book.take(found, costs, now, wall):
            raise self._refused(account, found, costs, now, wall)
        if account.flying and found is account.buckets:
            asking.before(partial(self._land, account))
        if others is not None and account.lasting:
            others.owe(account.charges(costs))
        asking.allowance = account

    def _refused(
        self, account: Account, found: tuple[AnyBucket, ...], costs: Costs, now: int, wall: int
    ) -> RateLimited:
        error = account.refused(found, costs, now, wall)
        self._told(account.endpoint, error.scope, error.kind)
        return error

    def _land(self, account: Account, _asking: object) -> None:
        self._book.land(account.flying, *self._now())

    def _now(self) -> tuple[int, int]:
        return int(self._clock.now() * SECOND), self._clock.wall_ms()

    def _account(self, endpoint: str, caller: Caller | None) -> Account:
        """Made anew where the caller has shown up for the first time, or with other limits."""
        known = self._accounts.get(endpoint, {}).get("" if caller is None else caller.name)
        if known is not None and caller is not None and known.serves(caller):
            known.caller = caller
            return known
        here, rules, project = self.rules.at(endpoint), self.rules, self.rules.project
        made: list[AnyBucket] = []
        if caller is not None:
            made += buckets(rules.of(caller.limits), "key", f"{project}:{caller.name}", self._found)
            if caller.tenant in rules.tenants:
                made += buckets(rules.tenants[caller.tenant], "tenant", f"{project}:{caller.tenant}", self._found)
            made += buckets(here.each, "caller", f"{project}:{endpoint}:{caller.name}", self._found)
            made += buckets(here.either, "caller", f"{project}:{endpoint}:{caller.name}", self._found)
        else:
            made += buckets(here.either, "endpoint", f"{project}:{endpoint}", self._found)
        made += buckets(here.own, "endpoint", f"{project}:{endpoint}", self._found)
        if self._count >= self._most:
            self._forget()
        account = Account(caller, endpoint, made, self._clock)
        accounts = self._accounts.setdefault(endpoint, {})
        name = "" if caller is None else caller.name
        self._count += name not in accounts
        accounts[name] = account
        return account

    def _found(self, key: str, make: Callable[[], AnyBucket]) -> AnyBucket:
        one = self._buckets.get(key)
        if one is None:
            one = self._buckets[key] = make()
            self._book.begin(one, *self._now())
        return one

    def _forget(self) -> None:
        """Let go of accounts that are as if they had never called; what is kept is at most doubled until the next
        time.
        """
        now, wall = self._now()
        self.settle()
        for accounts in self._accounts.values():
            for name, account in list(accounts.items()):
                if not any(one.until(now, wall) for one in account.buckets if one.scope != "endpoint"):
                    del accounts[name]
        held = {id(one) for accounts in self._accounts.values() for one in _buckets(accounts)}
        self._buckets = {key: one for key, one in self._buckets.items() if id(one) in held}
        self._count = sum(map(len, self._accounts.values()))
        self._most = max(KEPT, 2 * self._count)


def _buckets(accounts: dict[str, Account]) -> list[AnyBucket]:
    return [one for account in accounts.values() for one in account.buckets]
