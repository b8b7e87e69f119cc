"""What the access page shows: keys without their secrets, who was refused, the end of the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.console.facts.llm import Budget
from fairlead.console.facts.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Key:
    """As ``fairlead keys list`` has it, times as ISO 8601; empty for never. ``ids``: public, of secrets that hold.

    ``calls``, ``refused``: in the time shown, as the audit log has them, and ``last_ms`` the newest that was let in;
    None where it says nothing.
    """

    name: str
    state: str
    scopes: tuple[str, ...]
    ids: tuple[str, ...]
    tenant: str
    rates: tuple[str, ...]
    quotas: tuple[str, ...]
    concurrency: int
    budgets: tuple[str, ...]
    created: str
    expires: str
    revoked: str
    by: str
    calls: int | None
    refused: int | None
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Calls that were not let in, alike. ``last``: the newest, ISO 8601."""

    actor: str
    action: str
    endpoint: str
    outcome: str
    count: int
    last: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the audit log, as ``fairlead audit tail --json`` has it; ``detail`` as texts."""

    chain: str
    seq: int
    at: str
    actor: str
    action: str
    endpoint: str
    version: str
    outcome: str
    request_id: str
    count: int
    detail: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What ``fairlead audit verify`` says. ``ok``: None where it was not asked; ``why`` says so."""

    ok: bool | None
    why: str
    chains: int
    entries: int
    keyed: int
    findings: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limited:
    """Calls over one limit since the server started. ``scope``: whose: key, tenant, endpoint, or caller."""

    endpoint: str
    scope: str
    limit: str
    refused: int


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """``budgets``: how those stand that are counted here; empty without a ledger, and with ``budgets_trouble``.
    ``limited``: None with ``limited_why`` where no server said it.  ``audited``: whether this home has an audit log.
    ``entries``: the newest last; ``more`` are not listed.
    """

    since_ms: int
    until_ms: int
    keys: tuple[Key, ...]
    more_keys: int
    broken: tuple[str, ...]
    keys_trouble: Trouble | None
    budgets: tuple[Budget, ...]
    budgets_trouble: Trouble | None
    limited: tuple[Limited, ...] | None
    limited_why: str
    audited: bool
    refused: tuple[Refused, ...]
    entries: tuple[Entry, ...]
    more: int
    actions: tuple[str, ...]
    proof: Proof


class Accesses(Protocol):
    """``actor``, ``action``, ``outcome``: of entries; empty for all."""

    def access(self, actor: str, action: str, outcome: str, since_ms: int, until_ms: int) -> AccessFacts: ...
