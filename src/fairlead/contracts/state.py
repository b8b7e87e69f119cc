"""Plugin contract: the state store, where the stages meet. Entry-point group ``fairlead.state``.

Five shapes and no more: documents (compare-and-set), journals (append only), windows (with the hours that were added up
of them), labels and leases. What a body means is in ``contracts/plans.py``; bodies are JSON, so that two releases can
read each other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fairlead.contracts.events import Accepted, Label, Window

Body = dict[str, Any]
"""JSON: strings, finite numbers, booleans, None, lists and dicts of them."""


@dataclass(frozen=True, slots=True)
class Document:
    """``revision`` grows by one with every change; 0 is what is not there yet."""

    kind: str
    key: str
    revision: int
    body: Body
    at_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a journal. ``number`` grows, over all journals of the store."""

    kind: str
    subject: str
    number: int
    at_ms: int
    body: Body


@dataclass(frozen=True, slots=True)
class Tally:
    """How many windows there are, and the calls and rows in them: windows only grow, so who changed has another."""

    windows: int
    calls: int
    rows: int


@dataclass(frozen=True, slots=True)
class Hour:
    """The windows that start in one hour, added up. ``tally``: of those that were; where ``tallies`` tells another by
    now, one came late, and this is no longer what they add up to.
    """

    start_ms: int
    tally: Tally
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act, until it expires. ``token`` grows with every new holder: an older one is refused."""

    name: str
    owner: str
    token: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class KnownLabel:
    """A label as it is known now: the value that became known last, and when it did.

    ``changes``: the values before it with the time at which each became known, oldest first; so the value known at any
    time can be told.
    """

    label: Label
    changes: tuple[tuple[int, float | str], ...] = ()


class StateStore(Protocol):
    """Safe for many processes and, on PostgreSQL, many machines; a fresh database may be opened by all at once.

    Raises Unavailable when the database does not answer, StorageFull when it cannot be written, Conflict when a
    compare-and-set lost, LeaseLost when ``fence`` is not the current lease (checked in the same transaction).
    """

    def get(self, kind: str, key: str) -> Document | None: ...

    def all(self, kind: str) -> list[Document]:
        """By key."""

    def put(self, kind: str, key: str, body: Body, revision: int, *, fence: Lease | None = None) -> Document:
        """Replace revision ``revision`` (0: create). Raises Conflict."""

    def remove(self, kind: str, key: str, revision: int, *, fence: Lease | None = None) -> None:
        """Take a document away; the next one of this key begins at 1 again. Raises Conflict."""

    def append(self, kind: str, subject: str, body: Body, *, fence: Lease | None = None) -> Entry: ...

    def entries(
        self,
        kind: str,
        subject: str = "",
        *,
        after: int = 0,
        since_ms: int = 0,
        until_ms: int | None = None,
        limit: int = 0,
    ) -> list[Entry]:
        """By number, those that were appended in ``[since_ms, until_ms)``.

        ``after``: a number.  ``limit``: the newest so many of them, by time where a time is asked for, else by number;
        what is newer than ``until_ms`` is not read to find them.
        """

    def put_windows(self, windows: Sequence[Window]) -> None:
        """Keep each, in the place of an earlier one of the same endpoint, version, arm, worker and start."""

    def windows(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        version: str = "",
        columns: bool = True,
    ) -> list[Window]:
        """Oldest first, those that start in ``[since_ms, until_ms)``.

        ``columns`` False: without their histograms, which are most of what a window weighs.
        """

    def tallies(self, endpoint: str, *, since_ms: int, until_ms: int, unit_ms: int) -> dict[int, Tally]:
        """Of the windows that ``windows`` gives, by the multiple of ``unit_ms`` that they start in. A part without
        windows is left out. It reads no histogram.
        """

    def put_hours(self, endpoint: str, hours: Sequence[Hour], *, fence: Lease | None = None) -> None:
        """Keep each, in the place of an earlier one of the same start; all or none. Windows of it stay as they are."""

    def hours(self, endpoint: str, *, since_ms: int, until_ms: int, columns: bool = True) -> list[Hour]:
        """Those kept that start in ``[since_ms, until_ms)``, oldest first; ``columns`` as for ``windows``.

        One that cannot be read is left out, as if it was never kept: its windows say the same.
        """

    def prune_windows(self, before_ms: int) -> int:
        """Drop the windows that start before it, and the hours that do; how many windows went."""

    def endpoints(self) -> list[str]:
        """Those that have windows, by name."""

    def label(self, labels: Sequence[Label]) -> Accepted:
        """Durable when it returns. The same label again changes nothing; another value is a correction.

        A value that became known before the present one joins the history and does not replace it: labels may come in
        any order. All are kept or none. Raises InvalidParameter for a value that is not finite and the like.
        """

    def labels(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        keys: Sequence[str] = (),
        limit: int = 0,
    ) -> list[KnownLabel]:
        """Those that became known or were corrected in ``[since_ms, until_ms)``, in the order in which they last did.

        ``keys``: those only; none given means all.  ``limit``: no more than so many of them, whichever; 0 for all.
        """

    def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        """Take a free or expired lease, or extend one's own; None while another holds it. The store's clock decides.

        Raises UsageError for no time at all.
        """

    def holder(self, name: str) -> Lease | None:
        """Who holds a lease now; None when it is free."""

    def release(self, lease: Lease) -> None:
        """Let go early; nothing happens when it was lost."""

    def close(self) -> None: ...
