"""The rows of windows: how they are written, read and tallied, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from fairlead.adapters.state.tables import WINDOWS, insert
from fairlead.contracts.events import Window
from fairlead.contracts.state import Tally
from fairlead.kit.codec.records import pack, read_counts, unpack
from fairlead.kit.known import check_names, from_text, to_text

Span = tuple[int, int | None]

_NONE = to_text({})
_PLACE = ("endpoint", "version", "arm", "worker", "start_ms")


def cells(windows: Sequence[Window]) -> list[dict[str, Any]]:
    """In one order, so that two writers of the same rows cannot wait for each other."""
    return [_cells(window) for window in sorted(windows, key=_place)]


def keep(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    adding = insert(connection, WINDOWS)
    others = {name: adding.excluded[name] for name in rows[0] if name not in _PLACE}
    connection.execute(adding.on_conflict_do_update(index_elements=list(_PLACE), set_=others), rows)


def read(
    connection: sa.Connection, endpoint: str, span: Span, version: str, *, columns: bool
) -> tuple[list[str], Sequence[sa.Row[Any]]]:
    """For ``windows``, which needs no transaction."""
    told = {"name": endpoint, "since": span[0], "until": span[1], "version": version}
    query, names = _windows(columns, span[1] is not None, bool(version))
    return names, connection.execute(query, told).all()


def windows(names: Sequence[str], rows: Sequence[sa.Row[Any]]) -> list[Window]:
    found = [_window(names, row) for row in rows]
    return sorted(found, key=lambda window: (window.start_ms, window.version, window.arm, window.worker))


def tallies(connection: sa.Connection, endpoint: str, span: tuple[int, int], unit_ms: int) -> dict[int, Tally]:
    rows = connection.execute(_tallies(unit_ms), {"name": endpoint, "since": span[0], "until": span[1]}).all()
    return {int(start): Tally(*map(int, told)) for start, *told in rows}


def endpoints(connection: sa.Connection) -> list[str]:
    return sorted(connection.execute(_ENDPOINTS).scalars())


def prune(connection: sa.Connection, before_ms: int) -> int:
    return connection.execute(WINDOWS.delete().where(WINDOWS.c.start_ms < before_ms)).rowcount


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
