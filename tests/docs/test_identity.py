"""The specs of docs/identity.md are ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairlead.contracts.access import Action
from fairlead.wiring import specs, specs_identity

PAGE = Path(__file__).parents[2] / "docs" / "identity.md"


def test_the_specs_of_the_page_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    path = tmp_path / "f.yaml"
    path.write_text(blocks[0])
    found = specs.read(path).spec
    assert specs_identity.required(found.access)
    made = specs_identity.identity(found.access)
    certified = made.certified()
    assert made.issuer is not None
    assert certified is not None
    caller = certified({"subject": ((("commonName", "nightly-batch"),),), "notAfter": "Jan  1 00:00:00 2999 GMT"})
    assert caller is not None
    assert caller.may(Action.FEEDBACK, "churn")
    path.write_text(blocks[1])
    monkeypatch.setenv("DB_PASSWORD", "a/b")
    found = specs.read(path).spec
    assert specs.home(found, tmp_path).state == "postgresql://fairlead:a%2Fb@db/fairlead"
    upstream = found.endpoints["fraud"].upstream
    assert upstream is not None
    assert upstream.token == "file:/run/secrets/gateway"
