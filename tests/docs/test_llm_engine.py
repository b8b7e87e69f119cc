"""docs/llm-engine.md names every option, its spec is one, and its example runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from fairlead.adapters.engines.openvino.settings import _DEFAULTS, checked
from fairlead.contracts.engine import EngineOptions
from fairlead.kit.spec.read import parse

PAGE = Path(__file__).parents[2] / "docs" / "llm-engine.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


def test_every_option_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.read_text(), re.MULTILINE))
    assert set(rows) == set(_DEFAULTS) - {"precision"}
    for name, told in rows.items():
        default = _DEFAULTS[name]
        if default and told != "by precision":
            text = str(default).lower() if isinstance(default, bool) else str(default)
            assert told.strip("`") == text.removesuffix(".0"), name


def test_the_spec_of_the_page_is_read() -> None:
    found = parse(block("yaml"), "f.yaml").spec.endpoints["chat"].llm
    assert found is not None
    assert checked(EngineOptions("chat", found.model, options=found.options)).inner.cache_gb == 2


def test_the_example_runs() -> None:
    subprocess.run([sys.executable, "-c", block("python")], check=True, timeout=60)
