"""An event store in memory, for tests; ``fairlead.testing.event_suite`` holds for it too."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fairlead.contracts.errors import InvalidParameter, InvalidTensor, StorageFull, Unavailable
from fairlead.contracts.events import Array, Columns

_BASE = {
    "prediction_id": "text",
    "row": np.dtype(np.int32),
    "at_ms": np.dtype(np.int64),
    "version": "text",
    "arm": "text",
    "propensity": np.dtype(np.float64),
    "unit": "text",
    "seconds": np.dtype(np.float64),
    "code": "text",
    "degraded": "text",
    "weight": np.dtype(np.float64),
}
_EXACT = 2**53
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}

Kind = Any
"""A dtype, ``text``, or a tuple with the kind of the elements of a list."""
Line = dict[str, Any]


class MemoryEvents:
    """EventStore for one process, made of Python objects. ``query`` runs on SQLite.

    ``full`` and ``down``: refuse, as a disk without room and a store that does not answer.
    """

    def __init__(self) -> None:
        self.full = False
        self.down = False
        self._kept: list[tuple[str, Line, dict[str, Kind]]] = []
        self._lock = threading.Lock()

    def append(self, batch: Sequence[Columns]) -> None:
        self._answer()
        if self.full:
            raise StorageFull("events: the store in memory was told to be full")
        lines = [line for columns in batch if len(columns) for line in _lines(columns)]
        with self._lock:
            self._kept.extend(lines)

    def frame(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        version: str = "",
        limit: int = 0,
        features: bool = True,
    ) -> Mapping[str, Array]:
        self._answer()
        with self._lock:
            found = [
                (line, kinds)
                for name, line, kinds in self._kept
                if name == endpoint
                and line["at_ms"] >= since_ms
                and (until_ms is None or line["at_ms"] < until_ms)
                and version in ("", line["version"])
            ]
        found.sort(key=lambda one: one[0]["at_ms"])
        columns = _columns(found[-limit:] if limit else found)
        return {name: column for name, column in columns.items() if features or not name.startswith("in.")}

    def query(self, sql: str) -> Mapping[str, Array]:
        """Lists are their JSON, bytes are text. Raises InvalidParameter."""
        self._answer()
        with self._lock:
            kept = [({"endpoint": name, **line}, kinds) for name, line, kinds in self._kept]
        columns: dict[str, Any] = {"endpoint": [line["endpoint"] for line, _ in kept], **_columns(kept)}
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in _distinct(columns))
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.execute(f"CREATE TABLE events ({names})")
            marks = ", ".join("?" * len(columns))
            cells = [[_cell(value) for value in values] for values in columns.values()]
            rows = list(zip(*cells, strict=True))
            connection.executemany(f"INSERT INTO events VALUES ({marks})", rows)  # noqa: S608 - marks only
            connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY)
            try:
                cursor = connection.execute(sql)
                if cursor.description is None:
                    raise InvalidParameter("sql: only one SELECT (or WITH ... SELECT) over events can be asked")
                answer = cursor.fetchall()
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise InvalidParameter(f"sql: {error}") from error
        return {name[0]: _plain([row[place] for row in answer]) for place, name in enumerate(cursor.description)}

    def prune(self, endpoint: str, before_ms: int) -> int:
        """Each event counts as a file of its own."""
        self._answer()
        with self._lock:
            before = len(self._kept)
            self._kept = [one for one in self._kept if one[0] != endpoint or one[1]["at_ms"] >= before_ms]
            return before - len(self._kept)

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("events: the store in memory was told not to answer")


def _lines(columns: Columns) -> Iterable[tuple[str, Line, dict[str, Kind]]]:
    calls, rows = len(columns), int(columns.rows.sum())
    tensors = {f"in.{name}": array for name, array in columns.features.items()}
    tensors |= {f"out.{name}": array for name, array in columns.outputs.items()}
    for name, array in tensors.items():
        if not array.ndim or len(array) != rows:
            raise InvalidTensor(f"events of {columns.endpoint!r}: {name!r} has shape {array.shape} for {rows} rows")
    per_call: list[Any] = [columns.at_ms, columns.seconds, columns.code, columns.rows, *columns.more.values()]
    per_call += [given for given in (columns.unit, columns.degraded) if len(given)]
    if any(len(values) != calls for values in per_call):
        raise InvalidTensor(f"events of {columns.endpoint!r}: the columns are not equally long")
    if len(columns.entity) not in (0, rows):
        raise InvalidTensor(f"events of {columns.endpoint!r}: entity has {len(columns.entity)} values for {rows} rows")
    kinds: dict[str, Kind] = {name: _kind(array) for name, array in tensors.items()}
    values = {name: _elements(array) for name, array in tensors.items()}
    if columns.entity:
        kinds["entity"], values["entity"] = "text", list(columns.entity)
    more = {name if name not in _BASE and name not in kinds else f"more.{name}": v for name, v in columns.more.items()}
    kinds |= {name: kind for name, v in more.items() if (kind := _kind_of(v)) is not None}
    start = 0
    for call in range(calls):
        line: Line = {
            "prediction_id": columns.ids[call],
            "row": -1,
            "at_ms": int(columns.at_ms[call]),
            "version": columns.version,
            "arm": columns.arm,
            "propensity": float(columns.propensity),
            "unit": columns.unit[call] if len(columns.unit) else "",
            "seconds": float(columns.seconds[call]),
            "code": columns.code[call],
            "degraded": columns.degraded[call] if len(columns.degraded) else "",
            "weight": float(columns.weight),
            **{name: more[name][call] for name in more if name in kinds},
        }
        count = int(columns.rows[call])
        for row in range(count):
            yield columns.endpoint, {**line, "row": row, **{n: v[start + row] for n, v in values.items()}}, kinds
        if not count:
            yield columns.endpoint, line, kinds
        start += count


def _kind(array: Array) -> Kind:
    kind: Kind = "text"
    if array.dtype.kind in "biu":
        kind = array.dtype.newbyteorder("=")
    elif array.dtype.kind == "f":
        kind = np.dtype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
    if int(np.prod(array.shape[1:])) != 1:
        for _ in array.shape[1:]:
            kind = (kind,)
    return kind


def _kind_of(values: Sequence[Any]) -> Kind:
    """Of a column of Python objects; None when all are None."""
    types = {type(value) for value in values if value is not None and value == value}  # noqa: PLR0124 - NaN
    if not types:
        return np.dtype(np.float64) if any(value is not None for value in values) else None  # NaN
    if types <= {bool}:
        return np.dtype(np.bool_)
    if types <= {int}:
        return np.dtype(np.int64)
    return np.dtype(np.float64) if types <= {int, float} else "text"


def _elements(array: Array) -> list[Any]:
    if int(np.prod(array.shape[1:])) == 1:
        array = array.reshape(-1)
    if array.dtype.kind == "f":
        array = array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
    found: list[Any] = array.tolist()
    return found if array.dtype.kind in "biuf" else [_words(value) for value in found]


def _words(value: Any) -> Any:
    if isinstance(value, list):
        return [_words(one) for one in value]
    if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
        return None
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _columns(found: Sequence[tuple[Line, dict[str, Kind]]]) -> dict[str, Array]:
    kinds: dict[str, Kind] = dict(_BASE)
    for own in {id(kinds): kinds for _, kinds in found}.values():
        for name, kind in own.items():
            kinds[name] = _wider(kinds[name], kind) if name in kinds else kind
    order = sorted(kinds, key=lambda n: 0 if n in _BASE else 1 if n[:3] == "in." else 2 if n[:4] == "out." else 3)
    return {name: _array([line.get(name) for line, _ in found], kinds[name]) for name in order}


def _wider(one: Kind, other: Kind) -> Kind:
    if one == other:
        return one
    if isinstance(one, np.dtype) and isinstance(other, np.dtype):
        return np.result_type(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple) and _wider(one[0], other[0]) != "text":
        return (_wider(one[0], other[0]),)
    return "text"


def _array(values: list[Any], kind: Kind) -> Array:
    if isinstance(kind, np.dtype):
        gaps = any(value is None for value in values)
        if not gaps:
            return np.array(values, kind)
        wide = kind.kind in "iu" and any(value is not None and abs(value) > _EXACT for value in values)
        if kind.kind != "b" and not wide:
            return np.array(values, kind if kind.kind == "f" else np.float64)
    elif kind == "text":
        values = [v if v is None or isinstance(v, str | bytes) else json.dumps(v, default=_readable) for v in values]
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _cell(value: Any) -> Any:
    """What SQLite can keep."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, list):
        return json.dumps(value, default=_readable)
    if isinstance(value, bytes):
        return _readable(value)
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def _readable(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _distinct(names: Iterable[str]) -> list[str]:
    """SQL does not tell upper from lower case: ``Age``, ``age_2``."""
    taken: set[str] = set()
    found = []
    for name in names:
        free, count = name, 1
        while free.casefold() in taken:
            count += 1
            free = f"{name}_{count}"
        taken.add(free.casefold())
        found.append(free)
    return found


def _plain(values: list[Any]) -> Array:
    kind = _kind_of(values)
    return _array(values, "text" if kind is None else kind)
