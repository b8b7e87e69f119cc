"""Labels in tables: the present value of each in one row, the values before it in another table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from fairlead.adapters.state.tables import CHANGES, LABELS
from fairlead.contracts.events import Accepted, Label
from fairlead.contracts.state import KnownLabel
from fairlead.kit.known import History, Value, learn

_CHUNK = 5_000
"""Labels that are compared with the stored ones at once."""

_Place = tuple[str, int, bool]
_Row = dict[str, Any]


def keep(connection: sa.Connection, endpoint: str, labels: Sequence[Label]) -> Accepted:
    """Checked labels of one endpoint, of which this transaction is the only writer."""
    new = same = corrected = 0
    for start in range(0, len(labels), _CHUNK):
        part = _Part(connection, endpoint, labels[start : start + _CHUNK])
        part.write()
        new, same, corrected = new + part.new, same + part.same, corrected + part.corrected
    return Accepted(new, same, corrected)


def known(
    connection: sa.Connection, endpoint: str, span: tuple[int, int | None], keys: Sequence[str], limit: int
) -> list[KnownLabel]:
    """``limit``: no more than so many; 0 for all."""
    since_ms, until_ms = span
    chosen = _chosen(connection, endpoint, since_ms, until_ms, keys)
    if limit:
        chosen = sa.select(chosen.limit(limit).subquery())
    earlier = _changes(connection, CHANGES.c.label.in_(chosen))
    found: list[tuple[int, int, KnownLabel]] = []
    for row in connection.execute(sa.select(LABELS).where(LABELS.c.id.in_(chosen))):
        changes = tuple(earlier.get(row.id, ()))
        times = [at_ms for at_ms, _ in changes] + [row.at_ms]
        moved = max(at_ms for at_ms in times if at_ms >= since_ms and (until_ms is None or at_ms < until_ms))
        label = Label(endpoint, row.key, _value(row), row.at_ms, row.row, row.by_key)
        found.append((moved, row.id, KnownLabel(label, changes)))
    return [one for _, _, one in sorted(found, key=lambda one: one[:2])]


class _Part:
    """Some labels against what is stored of the same keys."""

    def __init__(self, connection: sa.Connection, endpoint: str, labels: Sequence[Label]) -> None:
        self.new = self.same = self.corrected = 0
        self._connection = connection
        self._endpoint = endpoint
        keys = {label.key for label in labels}
        query = sa.select(LABELS).where(LABELS.c.endpoint == endpoint, _among(connection, LABELS.c.key, keys))
        stored = {(row.key, row.row, row.by_key): row for row in connection.execute(query)}
        self._ids = {place: row.id for place, row in stored.items()}
        self._histories: dict[_Place, History] = {p: [(row.at_ms, _value(row))] for p, row in stored.items()}
        self._fresh: list[_Place] = []
        self._gone: dict[_Place, History] = defaultdict(list)
        """Values that go to the changes, in the order in which they came."""
        self._recall({_place(label) for label in labels if self._differs(label)})
        for label in labels:
            self._take(label)

    def write(self) -> None:
        """One statement for each kind of row."""
        if self._fresh:
            self._connection.execute(LABELS.insert(), [self._row(place) for place in self._fresh])
        lacking = [place for place in self._gone if place not in self._ids]
        if lacking:
            query = sa.select(LABELS.c.id, LABELS.c.key, LABELS.c.row, LABELS.c.by_key).where(
                LABELS.c.endpoint == self._endpoint,
                _among(self._connection, LABELS.c.key, {place[0] for place in lacking}),
            )
            self._ids.update({(key, row, by_key): id_ for id_, key, row, by_key in self._connection.execute(query)})
        moved = [{"of": self._ids[place], **_now(self._histories[place])} for place in self._gone]
        changes = [
            {"label": self._ids[place], "endpoint": self._endpoint, "at_ms": at_ms, **_cells(value)}
            for place, history in self._gone.items()
            for at_ms, value in history
        ]
        if changes:
            update = LABELS.update().where(LABELS.c.id == sa.bindparam("of"))
            self._connection.execute(
                update.values(**{name: sa.bindparam(name) for name in ("at_ms", "number", "text")}), moved
            )
            self._connection.execute(CHANGES.insert(), changes)

    def _differs(self, label: Label) -> bool:
        history = self._histories.get(_place(label))
        return history is not None and (history[-1][1] != label.value or label.at_ms < history[-1][0])

    def _recall(self, places: set[_Place]) -> None:
        """Read the whole history of those that may change."""
        of = {self._ids[place]: place for place in places}
        if of:
            for id_, history in _changes(self._connection, _among(self._connection, CHANGES.c.label, of)).items():
                self._histories[of[id_]][:0] = history

    def _take(self, label: Label) -> None:
        place = _place(label)
        history = self._histories.get(place)
        if history is None:
            self._histories[place] = [(label.at_ms, label.value)]
            self._fresh.append(place)
            self.new += 1
            return
        last = history[-1]
        if learn(history, label.at_ms, label.value):
            self._gone[place].append(last if history[-1] is not last else (label.at_ms, label.value))
            self.corrected += 1
        else:
            self.same += 1

    def _row(self, place: _Place) -> _Row:
        key, row, by_key = place
        return {
            "endpoint": self._endpoint,
            "key": key,
            "row": row,
            "by_key": by_key,
            **_now(self._histories[place]),
        }


def _chosen(
    connection: sa.Connection, endpoint: str, since_ms: int, until_ms: int | None, keys: Sequence[str]
) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """A query for the ids of the labels that were asked for."""

    def within(table: sa.Table) -> sa.ColumnElement[bool]:
        until = sa.true() if until_ms is None else table.c.at_ms < until_ms
        return sa.and_(table.c.endpoint == endpoint, table.c.at_ms >= since_ms, until)

    before = sa.select(CHANGES.c.label).where(within(CHANGES))
    if not keys:
        return sa.select(LABELS.c.id).where(within(LABELS)).union(before)
    of = sa.select(LABELS.c.id).where(LABELS.c.endpoint == endpoint, _among(connection, LABELS.c.key, set(keys)))
    return of.where(sa.or_(within(LABELS), LABELS.c.id.in_(before)))


def _changes(connection: sa.Connection, of: sa.ColumnElement[bool]) -> dict[int, History]:
    """Earlier values by label, oldest first."""
    query = sa.select(CHANGES).where(of).order_by(CHANGES.c.at_ms, CHANGES.c.id)
    found: dict[int, History] = defaultdict(list)
    for row in connection.execute(query):
        found[row.label].append((row.at_ms, _value(row)))
    return found


def _among(connection: sa.Connection, column: sa.Column[Any], values: Collection[Any]) -> sa.ColumnElement[bool]:
    """``column IN values``, for thousands of them, as one parameter that is joined: PostgreSQL compares a long list of
    parameters with every row, one by one, once it has planned the statement for any list."""
    if connection.dialect.name == "postgresql":
        array = sa.literal(list(values), postgresql.ARRAY(column.type))
        listed: sa.ColumnElement[Any] = sa.func.unnest(array).column_valued("listed")
    else:
        listed = sa.func.json_each(json.dumps(list(values))).table_valued("value").c.value
    return column.in_(sa.select(listed))


def _place(label: Label) -> _Place:
    return label.key, label.row, label.by_key


def _value(row: sa.Row[Any]) -> Value:
    value: Value = row.number if row.text is None else row.text
    return value


def _now(history: History) -> _Row:
    at_ms, value = history[-1]
    return {"at_ms": at_ms, **_cells(value)}


def _cells(value: Value) -> _Row:
    return {"number": None, "text": value} if isinstance(value, str) else {"number": value, "text": None}
