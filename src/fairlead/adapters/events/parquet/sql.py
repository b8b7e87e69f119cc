"""SQL over the files: one view in a DuckDB that can reach nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from fairlead.adapters.events.parquet.frames import TEXT, unified
from fairlead.contracts.errors import InvalidParameter

_SETTINGS = (
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
}

Source = tuple[str, Any]
"""An endpoint and an Arrow dataset of files with one schema."""


def select(sql: str, sources: Sequence[Source]) -> Any:
    """The answer as an Arrow table. Raises InvalidParameter for what is not one SELECT, or what DuckDB refuses."""
    with contextlib.closing(duckdb.connect()) as connection:
        statement = _checked(connection, sql)
        connection.execute(_view(connection, sources))
        for setting in _SETTINGS:
            connection.execute(setting)
        try:
            return connection.sql(statement).to_arrow_table()
        except duckdb.Error as error:
            raise InvalidParameter(f"sql: {error}") from error


def _checked(connection: Any, sql: str) -> Any:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise InvalidParameter(f"sql: {error}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InvalidParameter("sql: only one SELECT (or WITH ... SELECT) over the view events can be asked")
    return statements[0]


def _view(connection: Any, sources: Sequence[Source]) -> str:
    """Make the view ``events``: each schema's columns, cast to what holds them all."""
    kinds = unified(dataset.schema for _, dataset in sources)
    names = _distinct(["endpoint", *kinds])
    empty = ", ".join(f"CAST(NULL AS {_type(kind)}) AS {_quoted(names[name])}" for name, kind in kinds.items())
    parts = [f"SELECT CAST(NULL AS VARCHAR) AS endpoint, {empty} WHERE false"]
    for number, (endpoint, dataset) in enumerate(sources):
        connection.register(f"part{number}", dataset)
        # By place, not by name: DuckDB does not tell upper from lower case in names.
        places = {field.name: f"c{place}" for place, field in enumerate(dataset.schema)}
        columns = ", ".join(
            _expression(places[name], dataset.schema.field(name).type, kind) if name in places else "NULL"
            for name, kind in kinds.items()
        )
        constant = "'" + endpoint.replace("'", "''") + "'"
        parts.append(f"SELECT {constant}, {columns} FROM part{number} AS t({', '.join(places.values())})")  # noqa: S608 - quoted
    return "CREATE VIEW events AS " + " UNION ALL ".join(parts)


def _expression(place: str, kind: Any, wanted: Any) -> str:
    if pa.types.is_binary(kind):  # text where it can be read, else with \xFF for what cannot
        return f"coalesce(try(decode({place})), CAST({place} AS VARCHAR))"
    return place if kind == wanted and not _bytes_within(kind) else f"CAST({place} AS {_type(wanted)})"


def _type(kind: Any) -> str:
    if pa.types.is_binary(kind) or _bytes_within(kind):
        return _TYPES[TEXT]
    return f"{_type(kind.value_type)}[]" if pa.types.is_list(kind) else _TYPES[kind]


def _bytes_within(kind: Any) -> bool:
    while pa.types.is_list(kind):
        kind = kind.value_type
        if pa.types.is_binary(kind):
            return True
    return False


def _distinct(names: Sequence[str]) -> Mapping[str, str]:
    """A second name that differs by case alone gets a number: ``Age``, ``age_2``."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        free, count = name, 1
        while free.casefold() in taken:
            count += 1
            free = f"{name}_{count}"
        taken.add(free.casefold())
        found[name] = free
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
