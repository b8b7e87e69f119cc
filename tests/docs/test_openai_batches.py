"""The page about batches: its program runs, and it has what the code has."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from fairlead.contracts.engine import EngineOptions
from fairlead.kit.clock import SystemClock
from fairlead.serve.access.needs import HTTP
from fairlead.serve.app import Application
from fairlead.serve.llm.batches import disk, files, lines, runner, shelf, work
from fairlead.serve.llm.batches.runner import Runner
from fairlead.serve.llm.batches.shelf import Shelf
from fairlead.testing.engines import EchoEngine

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from running import running  # noqa: E402 - it lives beside the integration tests

PAGE = (ROOT / "docs" / "openai-batches.md").read_text(encoding="utf-8")


def test_the_program_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    made = Runner(Shelf(tmp_path, SystemClock()), SystemClock())

    def also(application: Application) -> None:
        application.batches = made

    with running({}, chats={"writer": EchoEngine(EngineOptions("echo", ""))}, also=also, beside=[made]) as server:
        names: dict[str, object] = {}
        exec(source.replace("http://127.0.0.1:8080", server.url), names)
        names["client"].close()  # type: ignore[attr-defined]
    assert sorted(capsys.readouterr().out.splitlines()) == ["review-0 good", "review-1 bad"]


def test_what_is_told_is_so() -> None:
    for route in HTTP:
        if route.startswith(("/v1/files", "/v1/batches")):
            assert route in PAGE
    source = Path(lines.__file__).read_text()
    for code in re.findall(r'Problem\(\s*"(\w+)"', source):
        assert f"`{code}`" in PAGE
    assert (disk.DAYS, files.FILES, shelf.BATCHES, files.BYTES, lines.MOST) == (30, 1000, 1000, 2 * 1024**3, 50_000)
    assert (work.PARALLEL, work.TRIES, runner.MOST, runner.EACH, lines.TOLD) == (8, 3, 4, 2, 100)
