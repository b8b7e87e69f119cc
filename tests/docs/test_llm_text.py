"""docs/llm-text.md: its spec is one, its example runs, and the formats of calls are those that there are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from fairlead.kit.spec.read import parse
from fairlead.serve.llm.texting.calling.parsing import FORMATS
from fairlead.wiring.llm import specs

PAGE = Path(__file__).parents[2] / "docs" / "llm-text.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_spec_of_the_page_is_read() -> None:
    file = parse(block("yaml"), "f.yaml")
    for name, endpoint in file.spec.endpoints.items():
        specs.check(file, name, endpoint)
    chat, search = specs.wanted(file.spec)
    assert chat.engine == "embedded"
    assert search.parts["embedding"].model == "./models/embedder"


def test_the_formats_are_those_that_there_are() -> None:
    (told,) = re.findall(r"tools: auto +# .*: auto, none, (.*)", PAGE.read_text())
    assert set(told.split(", ")) == set(FORMATS)


def test_the_example_runs() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", block("python")], check=True, timeout=60)
