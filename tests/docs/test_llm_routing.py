"""What docs/llm-routing.md shows is so: its spec, its line of data, the metrics that it names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fairlead.kit.spec.read import parse
from fairlead.wiring.llm import fits, specs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "llm-routing.md").read_text()


def test_the_spec_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    monkeypatch.setattr(specs.engines, "names", lambda: ["embedded", "openai"])
    file = parse(block, "fairlead.yaml")
    for name, endpoint in file.spec.endpoints.items():
        specs.check(file, name, endpoint)
    assert [one.name for one in specs.wanted(file.spec) if not one.engine] == ["chat", "assistant"]


def test_the_line_of_data(tmp_path: Path) -> None:
    (line,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    json.loads(line)
    path = tmp_path / "rows.jsonl"
    path.write_text(line)
    ((_, row),) = fits._rows(path)
    assert row.cheap
    assert row.logprobs


def test_metrics_exist() -> None:
    told = (ROOT / "docs" / "metrics.md").read_text()
    part = PAGE.partition("## What is measured")[2]
    for names in re.findall(r"`(fairlead_llm_\w+)`", part):
        assert f"`{names}`" in told, names
