"""The audit log of a home: who writes to it, and where its heads are kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.audit.chain import opened
from fairlead.audit.entry import Noted, Seal
from fairlead.audit.heads import Heads, StoredHeads
from fairlead.audit.journal import Journal, Settings
from fairlead.contracts.audit import Audited, Auditor
from fairlead.contracts.errors import FairleadError, UsageError
from fairlead.contracts.sink import Sink
from fairlead.kit import plugins, secrets
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.wiring.stores import state

_log = logging.getLogger("fairlead.audit")

RECORDER = "audit"
"""What the metrics of events call the log."""


@dataclass(frozen=True, slots=True)
class Auditing:
    """How a server is audited. ``enabled``: None: as access is.  ``key``: ``env:NAME`` or ``file:PATH``."""

    enabled: bool | None = None
    days: float = 365.0
    payloads: bool = False
    key: str = ""

    def on(self, access: bool) -> bool:
        return access if self.enabled is None else self.enabled


def folder(home: Home) -> Path:
    return home.root / "audit"


def seal(reference: str) -> Seal:
    """The seal with the key behind ``env:NAME`` or ``file:PATH``; without one a plain one. Raises UsageError."""
    if not reference:
        return Seal()
    try:
        return Seal(secrets.secret(reference).reveal().encode())
    except UsageError as error:
        raise UsageError(f"the key of the audit log: {error}") from None


def heads(home: Home) -> Heads | None:
    """Where the heads of the chains are kept: the state store; None without its libraries."""
    return StoredHeads(state(home)) if plugins.installed("sqlalchemy", "alembic") else None


def journal(home: Home, how: Auditing, worker: str, endpoints: Sequence[str], sink: Sink) -> Journal:
    """The auditor of one process of a server. Raises UsageError for a key that is not there."""

    def note(action: str) -> Audited:
        about: dict[str, str | int | float] = {"endpoints": ", ".join(endpoints), "worker": worker, "pid": os.getpid()}
        return Audited(actor(home), action, detail=about)

    return Journal(
        Settings(folder(home), how.days, seal(how.key)),
        lambda: heads(home),
        SystemClock(),
        lambda written, lost: sink.events(RECORDER, written, lost),
        note("serve.start"),
        note("serve.stop"),
    )


def companions(auditor: Auditor | None) -> list[Journal]:
    """What of it lives beside a server; stopped last, so that it hears of everything."""
    return [auditor] if isinstance(auditor, Journal) else []


def actor(home: Home) -> str:
    """Who runs a command."""
    return f"local:{home.user}"


def act(
    home: Home,
    action: str,
    endpoint: str = "",
    version: str = "",
    *,
    who: str = "",
    outcome: str = "allowed",
    **detail: str | float,
) -> None:
    """Write down what a command did; durable when it returns. The command is not undone where that cannot be: the log
    of the process says so. ``who``: did it; the user of the home without one.  ``detail``: what of it.

    Where the state store does not answer, the entry is written and not anchored, which the log says, too.
    """
    told: dict[str, str | int | float] = {name: value for name, value in detail.items() if value != ""}
    now, kept = SystemClock.wall_ms(), None
    try:
        kept = heads(home)
    except FairleadError as error:
        _log.warning("audited without an anchor", extra={"fields": {"action": action, "error": str(error)}})
    try:
        chain = opened(folder(home), Seal(), kept)
        try:
            chain.append([Noted(Audited(who or actor(home), action, endpoint, version, outcome, detail=told), now)])
            if kept is not None:
                chain.anchor(kept, now)
        finally:
            chain.close()
    except (FairleadError, OSError) as error:
        fields = {"action": action, "endpoint": endpoint, "error": str(error)}
        _log.warning("not in the audit log", extra={"fields": fields})
