"""The state store on SQL: SQLite (one machine, in process) or PostgreSQL (many machines)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from fairlead.adapters.state import hours as hour_rows
from fairlead.adapters.state import labels as label_rows
from fairlead.adapters.state import windows as window_rows
from fairlead.adapters.state.database import Database
from fairlead.adapters.state.tables import DOCUMENTS, ENTRIES, LEASES, insert
from fairlead.contracts.errors import Conflict, LeaseLost
from fairlead.contracts.events import Accepted, Label, Window
from fairlead.contracts.state import Body, Document, Entry, Hour, KnownLabel, Lease, Tally
from fairlead.kit.clock import Clock
from fairlead.kit.known import check_names, checked, from_text, lease_ms, to_text


class SqlState:
    """StateStore over a SQLAlchemy URL; ``postgresql://`` means psycopg 3. Nothing is opened before the first call.

    ``clock``: SQLite's, for leases and times (else the machine's); PostgreSQL's own clock decides there. A database
    that stopped and came back is found again by the next call.
    """

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self._database = Database(url, clock)

    def get(self, kind: str, key: str) -> Document | None:
        query = sa.select(DOCUMENTS).where(DOCUMENTS.c.kind == kind, DOCUMENTS.c.key == key)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _document(row)

    def all(self, kind: str) -> list[Document]:
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(DOCUMENTS).where(DOCUMENTS.c.kind == kind)).all()
        return sorted(map(_document, rows), key=lambda document: document.key)  # databases sort by their locale

    def put(self, kind: str, key: str, body: Body, revision: int, *, fence: Lease | None = None) -> Document:
        check_names(kind=kind, key=key)
        text = to_text(body)
        with self._database.writing() as connection:
            self._check(connection, fence)
            at_ms = self._database.now_ms(connection)
            values = {"revision": revision + 1, "body": text, "at_ms": at_ms}
            if revision:
                at = (DOCUMENTS.c.kind == kind, DOCUMENTS.c.key == key, DOCUMENTS.c.revision == revision)
                change: Any = DOCUMENTS.update().where(*at).values(values)
            else:
                change = insert(connection, DOCUMENTS).values(kind=kind, key=key, **values).on_conflict_do_nothing()
            if connection.execute(change.returning(DOCUMENTS.c.revision)).first() is None:
                raise Conflict(f"{kind} {key!r} is not at revision {revision} any more; read it and try again")
        return Document(kind, key, revision + 1, from_text(text), at_ms)

    def remove(self, kind: str, key: str, revision: int, *, fence: Lease | None = None) -> None:
        at = (DOCUMENTS.c.kind == kind, DOCUMENTS.c.key == key, DOCUMENTS.c.revision == revision)
        with self._database.writing() as connection:
            self._check(connection, fence)
            if not connection.execute(DOCUMENTS.delete().where(*at)).rowcount:
                raise Conflict(f"{kind} {key!r} is not at revision {revision} any more; read it and try again")

    def append(self, kind: str, subject: str, body: Body, *, fence: Lease | None = None) -> Entry:
        check_names(kind=kind, subject=subject)
        text = to_text(body)
        with self._database.writing() as connection:
            self._check(connection, fence)
            # One at a time: else a lower number could become visible after a higher one, and a reader would miss it.
            self._database.lock(connection, "append")
            at_ms = self._database.now_ms(connection)
            values = {"kind": kind, "subject": subject, "at_ms": at_ms, "body": text}
            number = connection.execute(ENTRIES.insert().returning(ENTRIES.c.number), values).scalar_one()
        return Entry(kind, subject, number, at_ms, from_text(text))

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
        query = sa.select(ENTRIES).where(ENTRIES.c.kind == kind)
        if subject:
            query = query.where(ENTRIES.c.subject == subject)
        if after > 0:
            query = query.where(ENTRIES.c.number > after)
        number, at_ms = ENTRIES.c.number, ENTRIES.c.at_ms
        order = [number.desc()]
        if since_ms > 0 or until_ms is not None:  # along the index by time, from the newest of the range on
            order = [at_ms.desc(), number.desc()]
            query = query.where(at_ms >= since_ms)
        if until_ms is not None:
            query = query.where(at_ms < until_ms)
        query = query.order_by(*order)
        with self._database.reading() as connection:
            rows = connection.execute(query.limit(limit) if limit else query).all()
        found = [Entry(row.kind, row.subject, row.number, row.at_ms, from_text(row.body)) for row in rows]
        return sorted(found, key=lambda entry: entry.number)

    def put_windows(self, windows: Sequence[Window]) -> None:
        if not windows:
            return
        rows = window_rows.cells(windows)
        with self._database.writing() as connection:
            window_rows.keep(connection, rows)

    def windows(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        version: str = "",
        columns: bool = True,
    ) -> list[Window]:
        with self._database.reading() as connection:
            read = window_rows.read(connection, endpoint, (since_ms, until_ms), version, columns=columns)
        return window_rows.windows(*read)

    def tallies(self, endpoint: str, *, since_ms: int, until_ms: int, unit_ms: int) -> dict[int, Tally]:
        with self._database.reading() as connection:
            return window_rows.tallies(connection, endpoint, (since_ms, until_ms), unit_ms)

    def put_hours(self, endpoint: str, hours: Sequence[Hour], *, fence: Lease | None = None) -> None:
        rows = hour_rows.cells(endpoint, hours)
        with self._database.writing() as connection:
            self._check(connection, fence)
            if rows:
                hour_rows.keep(connection, rows)

    def hours(self, endpoint: str, *, since_ms: int, until_ms: int, columns: bool = True) -> list[Hour]:
        with self._database.reading() as connection:
            rows = hour_rows.read(connection, endpoint, (since_ms, until_ms), columns=columns)
        return hour_rows.hours(rows, columns=columns)

    def prune_windows(self, before_ms: int) -> int:
        with self._database.writing() as connection:
            hour_rows.prune(connection, before_ms)
            return window_rows.prune(connection, before_ms)

    def endpoints(self) -> list[str]:
        with self._database.reading() as connection:
            return window_rows.endpoints(connection)

    def label(self, labels: Sequence[Label]) -> Accepted:
        of: dict[str, list[Label]] = defaultdict(list)
        for label in checked(labels):
            of[label.endpoint].append(label)
        if not of:
            return Accepted()
        told = []
        with self._database.writing() as connection:
            for endpoint in sorted(of):  # in one order: see put_windows
                self._database.lock(connection, f"labels\n{endpoint}")
                told.append(label_rows.keep(connection, endpoint, of[endpoint]))
        return Accepted(*(sum(getattr(one, name) for one in told) for name in ("new", "same", "corrected")))

    def labels(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        keys: Sequence[str] = (),
        limit: int = 0,
    ) -> list[KnownLabel]:
        with self._database.reading() as connection:
            return label_rows.known(connection, endpoint, (since_ms, until_ms), keys, limit)

    def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        check_names(name=name, owner=owner)
        length = lease_ms(seconds)
        with self._database.writing() as connection:
            never = {"name": name, "owner": "", "token": 0, "expires_ms": 0}
            connection.execute(insert(connection, LEASES).on_conflict_do_nothing(), never)
            held = connection.execute(sa.select(LEASES).where(LEASES.c.name == name).with_for_update()).one()
            now = self._database.now_ms(connection)
            free = held.expires_ms <= now
            if not free and held.owner != owner:
                return None
            lease = Lease(name, owner, held.token + free, now + length)
            values = {"owner": owner, "token": lease.token, "expires_ms": lease.expires_ms}
            connection.execute(LEASES.update().where(LEASES.c.name == name).values(values))
        return lease

    def holder(self, name: str) -> Lease | None:
        with self._database.reading() as connection:
            held = connection.execute(sa.select(LEASES).where(LEASES.c.name == name)).one_or_none()
            if held is None or held.expires_ms <= self._database.now_ms(connection):
                return None
        return Lease(held.name, held.owner, held.token, held.expires_ms)

    def release(self, lease: Lease) -> None:
        mine = (LEASES.c.name == lease.name, LEASES.c.owner == lease.owner, LEASES.c.token == lease.token)
        with self._database.writing() as connection:
            connection.execute(LEASES.update().where(*mine).values(expires_ms=0))  # the token stays: it only grows

    def close(self) -> None:
        self._database.close()

    def _check(self, connection: sa.Connection, fence: Lease | None) -> None:
        """The lease's row stays locked until the transaction ends: nobody takes it over in between."""
        if fence is None:
            return
        held = connection.execute(sa.select(LEASES).where(LEASES.c.name == fence.name).with_for_update()).one_or_none()
        current = held is not None and (held.owner, held.token) == (fence.owner, fence.token)
        if not (held and current and held.expires_ms > self._database.now_ms(connection)):
            raise LeaseLost(f"{fence.owner!r} no longer holds the lease {fence.name!r}; acquire it before acting")


def _document(row: sa.Row[Any]) -> Document:
    return Document(row.kind, row.key, row.revision, from_text(row.body), row.at_ms)
