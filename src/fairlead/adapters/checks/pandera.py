"""Schemas by pandera: inferred from training data, kept as JSON, tested on the next training data."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from fairlead.contracts.checks import Table
from fairlead.contracts.errors import StateError
from fairlead.contracts.plans import Answer, Check
from fairlead.kit.sentences import cause

_SHARE = 0.05
"""Share of rows that may break a rule of values before it is more than drift."""
_SHOWN = 3


class PanderaChecks:
    """Entry point ``pandera``. Rules: columns, kinds, no missing values where there were none, and ranges.

    A range is that of the training data, widened by its own width on both sides; a column that was constant has none.
    Whole and broken numbers are one kind. Up to 5 % of the rows may break a rule of values with a warning.
    """

    def infer(self, table: Table) -> bytes:
        frame = _frame(table)
        schema = pa.DataFrameSchema({name: _column(frame[name]) for name in frame.columns})
        return str(schema.to_json()).encode()

    def test(self, schema: bytes, table: Table) -> list[Check]:
        try:
            known = pa.DataFrameSchema.from_json(schema.decode())
        except Exception as error:  # pandera and json raise what they like
            raise StateError(f"the stored pandera schema cannot be read: {cause(error)}; train again") from error
        frame = _frame(table)
        try:
            known.validate(frame, lazy=True)
        except SchemaErrors as error:
            return _checks(error.failure_cases, len(frame))
        return [
            Check("schema", Answer.PASS, f"all {len(known.columns)} columns keep to the schema of the last training")
        ]


def _frame(table: Table) -> pd.DataFrame:
    """One column for each column; a matrix becomes ``name[0]``, ``name[1]`` and so on."""
    made: dict[str, Any] = {}
    for name, array in table.items():
        wide = array.reshape(len(array), math.prod(array.shape[1:]))
        for place in range(wide.shape[1]):
            values = wide[:, place]
            key = name if wide.shape[1] == 1 else f"{name}[{place}]"
            made[key] = _series(values)
    return pd.DataFrame(made)


def _series(values: np.ndarray[Any, Any]) -> pd.Series[Any]:
    """Numbers in an object array are numbers; texts stay objects; times are nanoseconds."""
    if values.dtype.kind == "M":
        return pd.Series(values.astype("datetime64[ns]"))
    series: pd.Series[Any] = pd.Series(values, dtype=values.dtype)
    kept = series.dropna()
    if values.dtype.kind == "O" and len(kept) and all(isinstance(one, int | float | np.number) for one in kept):
        return series.astype(float)
    return series


def _column(values: pd.Series[Any]) -> Any:
    nullable = bool(values.isna().any())
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pa.Column("datetime64[ns]", nullable=nullable, coerce=True)
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return pa.Column(str, nullable=nullable)
    finite = values.to_numpy(float, na_value=np.nan)
    finite = finite[np.isfinite(finite)]
    if not len(finite) or finite.min() == finite.max():
        return pa.Column(float, nullable=True, coerce=True)
    low, high = float(finite.min()), float(finite.max())
    between = pa.Check.in_range(low - (high - low), high + (high - low))
    return pa.Column(float, between, nullable=nullable, coerce=True)


def _checks(cases: pd.DataFrame, rows: int) -> list[Check]:
    """One check for each column that breaks a rule."""
    found = []
    named = cases["column"].where(cases["column"].notna(), cases["failure_case"])
    for name, broken in cases.groupby(named.astype(str), sort=True):
        whole = broken["index"].isna()
        share = 1.0 if bool(whole.any()) else broken["index"].nunique() / max(1, rows)
        rules = sorted({str(rule) for rule in broken["check"]})
        values = list(dict.fromkeys(map(str, broken["failure_case"])))[:_SHOWN]
        why = f"column {name!r} breaks {', '.join(rules)} in {share:.1%} of the rows (as {', '.join(values)})"
        answer = Answer.FAIL if share > _SHARE else Answer.PASS
        numbers = {"warning": answer is Answer.PASS, "share": float(share), "rules": rules}
        numbers |= {"figure": float(share), "at_most": _SHARE, "unit": "share"}
        found.append(Check(f"schema: {name}", answer, why, json.loads(json.dumps(numbers))))
    return found
