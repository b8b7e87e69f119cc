"""Plugin contract: a library that writes down what a table looks like and tests another against it.

Entry-point group ``fairlead.checks``. The entry point is a class without constructor arguments; the check-suite is
``fairlead.testing.checks_suite``. A table is a mapping of column names to numpy arrays with rows on axis 0; missing
values are NaN, or None in object arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from fairlead.contracts.plans import Check

Table = Mapping[str, np.ndarray[Any, Any]]


class TableChecks(Protocol):
    def infer(self, table: Table) -> bytes:
        """A schema of ``table`` as text in UTF-8: it is kept with the model and read by later releases."""

    def test(self, schema: bytes, table: Table) -> list[Check]:
        """Test ``table``: at least one check, never an exception for what is in the table.

        Drift is no failure: a value somewhat outside the range, or a new category, passes with a warning in
        ``evidence["warning"]``. Raises StateError for a schema that does not parse.
        """
