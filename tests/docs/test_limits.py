from __future__ import annotations

import re
from pathlib import Path

from fairlead.kit.spec.read import parse
from fairlead.serve.limits.rules import EndpointLimits
from fairlead.wiring import specs_limits

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()


def test_the_spec_of_the_page_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = parse(text, "page.yaml")
    specs_limits.check(file)
    rules = specs_limits.rules(file.spec)
    assert rules.endpoints["churn"] != EndpointLimits()
    assert set(rules.tenants) == {"acme"}


def test_every_field_of_limits_stands_on_the_page() -> None:
    assert all(f"`{name}`" in PAGE for name in ("rate", "burst", "rows", "bytes", "quota", "concurrency"))
