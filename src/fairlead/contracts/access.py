"""Who calls, what they may do, and how a credential becomes a caller. Entry-point group ``fairlead.verifiers``.

A scope is ``ENDPOINT:ACTION`` or ``ENDPOINT:ACTION:VERSION``; ``*`` stands for every endpoint or every action.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fairlead.contracts.ledger import Budget
from fairlead.contracts.limits import Limits


class Action(StrEnum):
    """What a caller may be allowed. ``DESCRIBE`` comes with every other action on the same endpoint.

    ``DETAIL``: whole answers of an endpoint that tells others less; it allows nothing else.
    ``READ``, ``WRITE``: of the console (``console:read``): to look, and to act as well.
    """

    PREDICT = "predict"
    GENERATE = "generate"
    EXPLAIN = "explain"
    FEEDBACK = "feedback"
    DESCRIBE = "describe"
    DETAIL = "detail"
    METRICS = "metrics"
    ADMIN = "admin"
    READ = "read"
    WRITE = "write"


EVERY = "*"

CREDENTIALS = ("authorization", "x-api-key", "api-key")
"""Headers that show who calls, in gRPC metadata. No value of theirs is ever written down."""


def shows_caller(source: str) -> bool:
    """Whether ``header:NAME`` names a header that shows who calls."""
    kind, _, name = source.partition(":")
    return kind == "header" and name.strip().lower() in CREDENTIALS


@dataclass(frozen=True, slots=True)
class Scope:
    """One thing that is allowed. ``version``: this one alone; empty for all."""

    endpoint: str
    action: str
    version: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.endpoint, self.action, self.version) if part)

    def covers(self, action: Action, endpoint: str, version: str) -> bool:
        """Whether it allows this. An empty ``endpoint`` is the server as a whole, which only ``*`` covers."""
        return (
            self.endpoint in (EVERY, endpoint)
            and self.version in ("", version)
            and (self.action in (EVERY, action) or (action is Action.DESCRIBE and bool(endpoint)))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Somebody who showed who they are.

    ``name``: unique among all callers of a server, fit for logs.  ``kind``: ``key``, ``jwt`` or ``mtls``.
    ``tenant``: whom several callers share limits with; empty for nobody.  ``limits``, ``budgets``: of this caller
    alone.
    """

    name: str
    kind: str
    scopes: tuple[Scope, ...]
    tenant: str = ""
    limits: Limits = Limits()
    budgets: tuple[Budget, ...] = ()

    def may(self, action: Action, endpoint: str = "", version: str = "") -> bool:
        """Whether some scope covers it; nothing is allowed by default."""
        return any(scope.covers(action, endpoint, version) for scope in self.scopes)


class Verifier(Protocol):
    """Makes a caller of a credential that came as a bearer token."""

    def verify(self, token: str, now: float) -> Caller:
        """``now``: seconds since 1970. Must not block. Raises Unauthenticated, whose words never say what was wrong."""
