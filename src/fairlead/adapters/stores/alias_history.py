"""The alias history on SQL: SQLite (in process) or PostgreSQL (many machines). Rows are added and never changed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from fairlead.contracts.errors import (
    AliasMoved,
    FairleadError,
    MissingExtra,
    RegistryError,
    RegistryUnreachable,
    StorageFull,
    UsageError,
)
from fairlead.contracts.stores import AliasMove
from fairlead.kit.files import locked, unwritable
from fairlead.kit.sentences import without_secrets

_BUSY_SECONDS = 30
_CONNECT_SECONDS = 5

_TABLES = sa.MetaData()
_MOVES = sa.Table(
    "alias_moves",
    _TABLES,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("alias", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("outside", sa.Boolean, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Index("alias_moves_by_alias", "model", "alias", "id"),
)
_FIELDS = tuple(column for column in _MOVES.columns if column.name != "id")


class SqlAliasHistory:
    """AliasHistory over a SQLAlchemy URL; ``postgresql://`` means psycopg 3. Nothing is opened before the first
    call, and no connection stays open between calls.

    One lock per model and alias holds over processes (PostgreSQL: over machines): an advisory transaction lock, or
    SQLite's own write lock, which is wider than needed and held for as long as one registry call takes.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: sa.Engine | None = None
        self._opening = threading.Lock()

    def append(self, move: AliasMove, apply: Callable[[], None], current: Callable[[], str]) -> None:
        with self._told(), self._opened().connect() as connection:  # leaving without a commit rolls back
            _lock(connection, f"{move.model}\n{move.alias}")
            _check(move, current())
            # The line first: when it cannot be stored the alias stays where it is.
            connection.execute(_MOVES.insert(), {column.name: getattr(move, column.name) for column in _FIELDS})
            apply()
            connection.commit()

    def moves(self, model: str, alias: str | None = None) -> list[AliasMove]:
        query = sa.select(*_FIELDS).where(_MOVES.c.model == model).order_by(_MOVES.c.id)
        if alias is not None:
            query = query.where(_MOVES.c.alias == alias)
        with self._told(), self._opened().connect() as connection:
            return [AliasMove(**row) for row in connection.execute(query).mappings()]

    def _opened(self) -> sa.Engine:
        with self._opening:
            if self._engine is None:
                self._engine = _open(self._url)
            return self._engine

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: sa.exc.SQLAlchemyError | OSError) -> FairleadError:
        where = f"the alias history at {without_secrets(self._url)}"
        server = self._url.startswith("postgresql")
        if not server and (said := unwritable(error)):
            return StorageFull(f"{where}: {said}; free some space, or name another folder with --home")
        if isinstance(error, OSError):
            return RegistryError(f"{where}: {error.strerror or error}")
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        lost = server and isinstance(error, sa.exc.OperationalError)
        return (RegistryUnreachable if lost else RegistryError)(f"{where} failed: {reason}")


def _open(url: str) -> sa.Engine:
    """An engine whose table exists. Several processes may do this to one fresh database at once."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise UsageError(
            f"{without_secrets(url)} is no database URL; give sqlite:///FILE or postgresql://..."
        ) from error
    if parsed.get_backend_name() == "postgresql":
        return _postgres(parsed.set(drivername="postgresql+psycopg"))
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return _sqlite(parsed, Path(str(parsed.database)))
    raise UsageError(f"{without_secrets(url)}: the alias history is kept in a SQLite file or in PostgreSQL")


def _postgres(url: sa.URL) -> sa.Engine:
    try:
        engine = sa.create_engine(url, connect_args={"connect_timeout": _CONNECT_SECONDS}, poolclass=sa.NullPool)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{url.drivername} needs the library {error.name!r}: pip install 'fairlead[postgres]'"
        ) from error
    with engine.begin() as connection:
        _lock(connection, "create tables")
        _TABLES.create_all(connection)
    return engine


def _sqlite(url: sa.URL, file: Path) -> sa.Engine:
    # Transactions are begun by hand: the driver's own BEGIN takes no write lock.
    engine = sa.create_engine(
        url, connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None}, poolclass=sa.NullPool
    )
    with locked(file.with_name(f"{file.name}.lock")), engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        _TABLES.create_all(connection)
    return engine


def _lock(connection: sa.Connection, key: str) -> None:
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check(move: AliasMove, found: str) -> None:
    if found != move.before:
        raise AliasMoved(
            f"alias {move.alias!r} of {move.model!r} points at {_named(found)} and not at {_named(move.before)}; "
            "look at it again and repeat the move"
        )


def _named(version: str) -> str:
    return f"version {version}" if version else "nothing"
