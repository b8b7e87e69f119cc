"""Schemathesis over the served OpenAPI, shortly; ``python -m bench.schema`` does it for longer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from bench import schema


def test_every_answer_is_one_that_the_document_names(start: Any, tmp_path: Path) -> None:
    program = schema.program()
    if program is None:
        if os.environ.get("FAIRLEAD_REQUIRE_SERVICES") == "1":
            raise RuntimeError("schemathesis is not installed")
        pytest.skip("schemathesis is not installed (pip install schemathesis, in an environment of its own)")
    (tmp_path / "table.py").write_text(schema.TABLE)
    url = start("serve", "table=table:Table", "--port", "0").url()
    cases, failures, said = schema.once(program, url, 1, 5)
    assert cases > 50
    assert not failures, said[-4000:]
