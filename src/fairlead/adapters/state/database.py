"""One database, SQLite or PostgreSQL, under the state store: connections, transactions, locks, time and errors."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from fairlead.adapters.state.migrating import current, migrate
from fairlead.contracts.errors import FairleadError, MissingExtra, StateError, StorageFull, Unavailable, UsageError
from fairlead.kit.clock import Clock, SystemClock
from fairlead.kit.files import locked, unwritable
from fairlead.kit.sentences import without_secrets

_BUSY_SECONDS = 10
_RETRY_SECONDS = 1.0
_POOL = {"pool_size": 4, "max_overflow": 12, "pool_timeout": 5}
_POSTGRES: dict[str, Any] = {
    "connect_timeout": 5,  # seconds; a network that swallows packets is noticed by the next three
    "tcp_user_timeout": 5_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
# A client that hangs inside a transaction, on another machine, must not hold everybody up.
_SESSION = (
    "SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s'; "
    "SET client_min_messages = 'error'"
)
_NO_ROOM = ("53100",)  # disk_full
_LATER = ("25006",)  # read_only_sql_transaction: a standby that is not the primary yet, or no longer


class Database:
    """Opened by the first transaction, when the schema is brought up to date; many processes may do so at once.

    ``clock`` is SQLite's; PostgreSQL has its own, the same for all machines. Every error comes out as one of ours.
    """

    def __init__(self, url: str, clock: Clock | None) -> None:
        self.where = f"the state store at {without_secrets(url)}"
        self._clock = clock or SystemClock()
        self._engine, self._file = _engine(url)
        self._made_by = os.getpid()
        self._ready = False
        weakref.finalize(self, self._engine.dispose)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database throughout."""
        with self._told(), self._opened().connect() as connection:
            if self._file:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that commits, durably, when the block ends; SQLite has one of them at a time."""
        with self._told(), self._opened().connect() as connection:  # leaving without a commit rolls back
            if self._file:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def lock(self, connection: sa.Connection, name: str) -> None:
        """Hold a name alone until the transaction ends. SQLite's writing transactions are alone already."""
        if not self._file:
            _advisory(connection, name)

    def now_ms(self, connection: sa.Connection) -> int:
        """Unix time of the database: not the transaction's start, which is earlier than a lock that was waited for."""
        if self._file:
            return self._clock.wall_ms()
        now = connection.exec_driver_sql("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        return int(now.scalar_one())

    def close(self) -> None:
        self._engine.dispose()

    def _opened(self) -> sa.Engine:
        if self._made_by != os.getpid():
            self._engine.dispose(close=False)  # a fork: the connections are the parent's
            self._made_by = os.getpid()
        if not self._ready:
            if self._file:
                self._prepare_file(self._file)
            else:
                self._prepare_server()
            self._ready = True
        return self._engine

    def _prepare_file(self, file: Path) -> None:
        with locked(file.with_name(f"{file.name}.lock")), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate(connection)
            connection.commit()

    def _prepare_server(self) -> None:
        with self._engine.connect() as connection:
            if current(connection):
                return
            _advisory(connection, "migrate")
            # An index over years of a journal takes minutes: whoever waits for the lock tries again, and this one ends.
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            migrate(connection)
            connection.commit()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, OSError, UnicodeEncodeError, OverflowError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> FairleadError:
        cause = getattr(error, "orig", None) or error
        reason = str(cause).strip().partition("\n")[0]
        if self._file:
            if said := unwritable(error) or _forbidden(error):
                return StorageFull(f"{self.where}: {said}; free some space, or name another folder with --home")
            busy = getattr(cause, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if busy or isinstance(error, exc.TimeoutError):
                return Unavailable(f"{self.where} is busy: {reason}; try again", retry_after=_RETRY_SECONDS)
            return StateError(f"{self.where} failed: {reason}")
        state = getattr(cause, "sqlstate", None)
        if state in _NO_ROOM:
            return StorageFull(f"{self.where}: {reason}; free some space on the server")
        lost = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError | OSError)
        if lost or state in _LATER or getattr(error, "connection_invalidated", False):
            return Unavailable(f"{self.where} does not answer: {reason}", retry_after=_RETRY_SECONDS)
        return StateError(f"{self.where} failed: {reason}")


def _forbidden(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM) else ""


def _engine(url: str) -> tuple[sa.Engine, Path | None]:
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise UsageError(
            f"{without_secrets(url)} is no database URL; give sqlite:///FILE or postgresql://..."
        ) from error
    if parsed.get_backend_name() == "postgresql":
        return _server(parsed.set(drivername="postgresql+psycopg")), None
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return _local(parsed), Path(str(parsed.database))
    raise UsageError(f"{without_secrets(url)}: state is kept in a SQLite file or in PostgreSQL")


def _server(url: sa.URL) -> sa.Engine:
    arguments = {name: value for name, value in _POSTGRES.items() if name not in url.query}
    try:
        engine = sa.create_engine(url, connect_args=arguments, pool_pre_ping=True, hide_parameters=True, **_POOL)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{url.drivername} needs the library {error.name!r}: pip install 'fairlead[postgres]'"
        ) from error

    @sa.event.listens_for(engine, "connect")
    def limit(connection: Any, _record: Any) -> None:
        connection.execute(_SESSION)
        connection.commit()

    return engine


def _local(url: sa.URL) -> sa.Engine:
    # Transactions are begun by hand: the driver's own BEGIN takes no write lock.
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        poolclass=sa.QueuePool,  # the last connection that closes rewrites the file: keep some open
        hide_parameters=True,
        **_POOL,
    )

    @sa.event.listens_for(engine, "connect")
    def durable(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def _advisory(connection: sa.Connection, name: str) -> None:
    number = int.from_bytes(hashlib.sha256(f"fairlead state\n{name}".encode()).digest()[:8], "big", signed=True)
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})
