"""The state store on SQL: SQLite (one machine, in process) or PostgreSQL (many machines)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from fairlead.adapters.state import labels as label_rows
from fairlead.adapters.state.database import Database
from fairlead.adapters.state.tables import DOCUMENTS, ENTRIES, LEASES, WINDOWS
from fairlead.contracts.errors import Conflict, LeaseLost
from fairlead.contracts.events import Accepted, Label, Window
from fairlead.contracts.state import Body, Document, Entry, KnownLabel, Lease, Tally
from fairlead.kit.clock import Clock
from fairlead.kit.codec.records import pack, read_counts, unpack
from fairlead.kit.known import check_names, checked, from_text, lease_ms, to_text

_NONE = to_text({})
_PLACE = ("endpoint", "version", "arm", "worker", "start_ms")


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
                change = _insert(connection, DOCUMENTS).values(kind=kind, key=key, **values).on_conflict_do_nothing()
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
        # In one order, so that two writers of the same rows cannot wait for each other.
        rows = [_cells(window) for window in sorted(windows, key=_place)]
        with self._database.writing() as connection:
            insert = _insert(connection, WINDOWS)
            others = {name: insert.excluded[name] for name in rows[0] if name not in _PLACE}
            connection.execute(insert.on_conflict_do_update(index_elements=list(_PLACE), set_=others), rows)

    def windows(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        version: str = "",
        columns: bool = True,
    ) -> list[Window]:
        told = {"name": endpoint, "since": since_ms, "until": until_ms, "version": version}
        query, names = _windows(columns, until_ms is not None, bool(version))
        with self._database.reading() as connection:
            rows = connection.execute(query, told).all()
        found = [_window(names, row) for row in rows]
        return sorted(found, key=lambda window: (window.start_ms, window.version, window.arm, window.worker))

    def tallies(self, endpoint: str, *, since_ms: int, until_ms: int, unit_ms: int) -> dict[int, Tally]:
        with self._database.reading() as connection:
            rows = connection.execute(_tallies(unit_ms), {"name": endpoint, "since": since_ms, "until": until_ms}).all()
        return {int(start): Tally(*map(int, told)) for start, *told in rows}

    def prune_windows(self, before_ms: int) -> int:
        with self._database.writing() as connection:
            return connection.execute(WINDOWS.delete().where(WINDOWS.c.start_ms < before_ms)).rowcount

    def endpoints(self) -> list[str]:
        with self._database.reading() as connection:
            return sorted(connection.execute(_ENDPOINTS).scalars())

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
            connection.execute(_insert(connection, LEASES).on_conflict_do_nothing(), never)
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


def _insert(connection: sa.Connection, table: sa.Table) -> Any:
    """An insert that may say what to do on a conflict, in the dialect's words."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def _every() -> sa.Select[Any]:
    """One step along the index for each endpoint: DISTINCT would read every window."""
    step = sa.select(sa.func.min(WINDOWS.c.endpoint).label("name")).cte("step", recursive=True)
    after = sa.select(sa.func.min(WINDOWS.c.endpoint)).where(WINDOWS.c.endpoint > step.c.name).scalar_subquery()
    step = step.union_all(sa.select(after).where(step.c.name.is_not(None)))
    return sa.select(step.c.name).where(step.c.name.is_not(None))


_ENDPOINTS = _every()


@cache
def _windows(columns: bool, until: bool, version: bool) -> tuple[sa.Select[Any], list[str]]:
    """The query, made once, and what it reads."""
    read = [one for one in WINDOWS.columns if columns or one.name != "columns"]
    since, end = sa.bindparam("since", type_=sa.BigInteger), sa.bindparam("until", type_=sa.BigInteger)
    query = sa.select(*read).where(WINDOWS.c.endpoint == sa.bindparam("name"), WINDOWS.c.start_ms >= since)
    if until:
        query = query.where(WINDOWS.c.start_ms < end)
    if version:
        query = query.where(WINDOWS.c.version == sa.bindparam("version"))
    return query, [one.name for one in read]


def _tallies(unit_ms: int) -> sa.Select[Any]:
    start = (WINDOWS.c.start_ms - WINDOWS.c.start_ms % sa.literal_column(str(int(unit_ms)))).label("start")
    sums = sa.func.sum(WINDOWS.c.calls), sa.func.sum(WINDOWS.c.rows)
    since, until = sa.bindparam("since", type_=sa.BigInteger), sa.bindparam("until", type_=sa.BigInteger)
    of = WINDOWS.c.endpoint == sa.bindparam("name"), WINDOWS.c.start_ms >= since, WINDOWS.c.start_ms < until
    return sa.select(start, sa.func.count(), *sums).where(*of).group_by(start)


def _document(row: sa.Row[Any]) -> Document:
    return Document(row.kind, row.key, row.revision, from_text(row.body), row.at_ms)


def _place(window: Window) -> tuple[str | int, ...]:
    return tuple(getattr(window, name) for name in _PLACE)


def _cells(window: Window) -> dict[str, Any]:
    check_names(endpoint=window.endpoint, version=window.version, arm=window.arm, worker=window.worker)
    check_names(reference=window.reference)
    cells = {column.name: getattr(window, column.name) for column in WINDOWS.columns}
    told = {"codes": to_text(dict(window.codes)), "pairs": to_text(dict(window.pairs))}
    return {**cells, **told, "columns": pack(window.columns)}


def _window(names: Sequence[str], row: Sequence[Any]) -> Window:
    cells = dict(zip(names, row, strict=True))
    cells["codes"] = read_counts(cells["codes"])
    cells["pairs"] = from_text(cells["pairs"]) if cells["pairs"] != _NONE else {}
    cells["columns"] = unpack(cells["columns"]) if "columns" in cells else {}
    return Window(**cells)
