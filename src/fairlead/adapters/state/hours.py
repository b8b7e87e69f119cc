"""The rows of hours that were added up: how they are written and read, inside the caller's transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from fairlead.adapters.state.tables import HOURS, insert
from fairlead.contracts.errors import StateError
from fairlead.contracts.state import Hour, Tally
from fairlead.kit.codec.records import pack_windows, unpack_windows
from fairlead.kit.known import check_names

_PLACE = ("endpoint", "start_ms")
_log = logging.getLogger("fairlead.state")


def cells(endpoint: str, hours: Sequence[Hour]) -> list[dict[str, Any]]:
    """By start, and of two with one start the last: a statement may write a row once."""
    check_names(endpoint=endpoint)
    latest = {one.start_ms: one for one in hours}
    return [_cells(endpoint, latest[start]) for start in sorted(latest)]


def keep(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    adding = insert(connection, HOURS)
    others = {name: adding.excluded[name] for name in rows[0] if name not in _PLACE}
    connection.execute(adding.on_conflict_do_update(index_elements=list(_PLACE), set_=others), rows)


def read(connection: sa.Connection, endpoint: str, span: tuple[int, int], *, columns: bool) -> Sequence[sa.Row[Any]]:
    """For ``hours``, which needs no transaction."""
    names = [one for one in HOURS.columns if one.name != "endpoint" and (columns or one.name != "columns")]
    at = HOURS.c.start_ms
    query = sa.select(*names).where(HOURS.c.endpoint == endpoint, at >= span[0], at < span[1]).order_by(at)
    return connection.execute(query).all()


def hours(rows: Sequence[sa.Row[Any]], *, columns: bool) -> list[Hour]:
    """Those that can be read. One of another release is none: whoever reads adds its windows up in its place."""
    found, told = [], ""
    for row in rows:
        try:
            windows = unpack_windows(row.totals, row.columns if columns else None)
        except StateError as error:
            told = str(error)
            continue
        found.append(Hour(row.start_ms, Tally(row.windows, row.calls, row.rows), windows))
    if told:
        _log.warning("hours are left out", extra={"fields": {"hours": len(rows) - len(found), "error": told}})
    return found


def prune(connection: sa.Connection, before_ms: int) -> None:
    connection.execute(HOURS.delete().where(HOURS.c.start_ms < before_ms))


def _cells(endpoint: str, hour: Hour) -> dict[str, Any]:
    totals, columns = pack_windows(hour.windows)
    tally = {"windows": hour.tally.windows, "calls": hour.tally.calls, "rows": hour.tally.rows}
    return {"endpoint": endpoint, "start_ms": hour.start_ms, **tally, "totals": totals, "columns": columns}
