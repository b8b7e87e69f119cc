"""The page about OpenAI's API: its program runs, its tables have what the code has."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from fairlead.contracts.engine import EngineOptions
from fairlead.serve.access.needs import HTTP
from fairlead.serve.openai.refusals import KINDS
from fairlead.testing.engines import EchoEngine

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from running import running  # noqa: E402 - it lives beside the integration tests

PAGE = (ROOT / "docs" / "openai.md").read_text(encoding="utf-8")


def test_the_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    with running({}, chats={"writer": EchoEngine(EngineOptions("echo", ""))}) as server:
        names: dict[str, object] = {}
        exec(source.replace("http://127.0.0.1:8080", server.url), names)
        names["client"].close()  # type: ignore[attr-defined]
    assert capsys.readouterr().out.split() == ["hello", "big", "world", "hello", "big", "world", "two"]


def test_every_code_and_route_is_told() -> None:
    for kind, code in KINDS.values():
        assert f"`{kind}`" in PAGE
        assert code is None or f"`{code}`" in PAGE
    for route in HTTP:
        if HTTP[route].action == "generate":
            assert route.split("/")[-1] in PAGE
