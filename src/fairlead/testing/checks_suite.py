"""What every library of table checks must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", checks_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_checks(check):
        check(MyChecks)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fairlead.contracts.checks import TableChecks
from fairlead.contracts.errors import StateError
from fairlead.contracts.plans import Answer, Check
from fairlead.kit.codec.records import to_body

Make = Callable[[], TableChecks]
_Array = np.ndarray[Any, Any]

_ROWS = 200


def the_table_itself_passes(make: Make) -> None:
    _expect(not _failed(make, _table()), "a table keeps to its own schema")


def a_schema_is_text_that_others_read(make: Make) -> None:
    schema = make().infer(_table())
    _expect(schema.decode().strip() != "", "a schema is text in UTF-8")
    _expect(all(check.answer is Answer.PASS for check in make().test(schema, _table())), "another object reads it")


def inferring_and_testing_change_nothing(make: Make) -> None:
    table = _table()
    before = {name: array.copy() for name, array in table.items()}
    checks = make()
    checks.test(checks.infer(table), table)
    same = all(array.dtype == before[name].dtype for name, array in table.items())
    same = same and all(array.tolist()[1:] == before[name].tolist()[1:] for name, array in table.items())
    _expect(same, "the table is as it was")


def poison_fails(make: Make) -> None:
    table = _table()
    poison: dict[str, dict[str, _Array]] = {
        "a column that is gone": {name: array for name, array in table.items() if name != "plan"},
        "another unit": {**table, "age": table["age"] * 1000},
        "text for numbers": {**table, "age": np.full(_ROWS, "old", object)},
        "numbers for text": {**table, "plan": np.arange(_ROWS)},
        "nothing but missing values": {**table, "age": np.full(_ROWS, np.nan)},
    }
    for what, bad in poison.items():
        _expect(bool(_failed(make, bad)), f"{what} fails")


def drift_passes(make: Make) -> None:
    table = _table()
    rare = table["age"].copy()
    rare[:2] = 1e9
    plan = table["plan"].copy()
    plan[::5] = "platinum"
    drift: dict[str, dict[str, _Array]] = {
        "a mean that moved": {**table, "age": table["age"] + 10},
        "a few values far outside": {**table, "age": rare},
        "a new category": {**table, "plan": plan},
        "whole numbers for broken ones": {**table, "age": table["age"].round().astype(int)},
        "a new column": {**table, "more": table["age"]},
        "a constant that moves": {**table, "still": np.arange(_ROWS) % 3},
    }
    for what, moved in drift.items():
        _expect(not _failed(make, moved), f"{what} passes")


def no_rows_are_no_exception(make: Make) -> None:
    checks = make()
    empty = {name: array[:0] for name, array in _table().items()}
    _expect(len(checks.test(checks.infer(_table()), empty)) > 0, "a table without rows gets its checks")


def checks_are_json_with_a_sentence(make: Make) -> None:
    checks = make()
    for table in (_table(), {**_table(), "age": _table()["age"] * 1000}):
        for check in checks.test(checks.infer(_table()), table):
            _expect(bool(check.name and check.why and to_body(check)), "a name, a sentence, and evidence as JSON")


def a_broken_schema_is_a_state_error(make: Make) -> None:
    try:
        make().test(b"{", _table())
    except StateError:
        return
    _expect(False, "StateError for a schema that does not parse")


CHECKS = (
    the_table_itself_passes,
    a_schema_is_text_that_others_read,
    inferring_and_testing_change_nothing,
    poison_fails,
    drift_passes,
    no_rows_are_no_exception,
    checks_are_json_with_a_sentence,
    a_broken_schema_is_a_state_error,
)


def _table() -> dict[str, _Array]:
    """Numbers with one missing, a constant, text with one missing, a matrix and times."""
    rng = np.random.default_rng(0)
    age = 40 + 10 * rng.normal(size=_ROWS)
    plan = np.array(["basic", "gold"], object)[rng.integers(0, 2, _ROWS)]
    plan[0] = None
    return {
        "age": age,
        "holes": np.where(np.arange(_ROWS) == 0, np.nan, age),
        "still": np.zeros(_ROWS, int),
        "plan": plan,
        "matrix": rng.normal(size=(_ROWS, 2)),
        "when": np.datetime64("2024-01-01") + np.arange(_ROWS),
        "label": rng.integers(0, 2, _ROWS),
    }


def _failed(make: Make, table: dict[str, _Array]) -> list[Check]:
    checks = make()
    return [check for check in checks.test(checks.infer(_table()), table) if check.answer is not Answer.PASS]


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
