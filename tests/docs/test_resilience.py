"""The spec of docs/resilience.md is one, and means what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from fairlead.wiring import specs

PAGE = Path(__file__).parents[2] / "docs" / "resilience.md"


def test_the_spec_of_the_page_is_read(tmp_path: Path) -> None:
    block = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)[0]
    path = tmp_path / "f.yaml"
    path.write_text(block)
    safety = specs.target("churn", specs.read(path).spec.endpoints["churn"]).safety
    assert [rung.name for rung in safety.fallback] == ["cache", "endpoint:churn-small", "version:3", "value"]
    assert safety.breaker is not None
    assert (safety.breaker.fail_max, safety.breaker.cooldown, safety.reserve, safety.retries) == (5, 30, 0.2, 1)
