"""The entry page of language models: its spec is served, its program runs, its table has every stage."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairlead.wiring.llm.lines import STAGES

PAGE = (Path(__file__).parents[2] / "docs" / "llm.md").read_text(encoding="utf-8")


@pytest.fixture
def url(tmp_path: Path):
    (spec,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "fairlead.yaml").write_text(f"{spec}server: {{port: 0}}\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FAIRLEAD_", "MLFLOW_"))}
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "fairlead", "up", "fairlead.yaml"],
            cwd=tmp_path,
            env={**kept, "FAIRLEAD_HOME": str(tmp_path / "home")},
            stdout=out,
            stderr=out,
        )
    try:
        ends = time.monotonic() + 60
        while not (found := re.search(r'"event":"ready".*"url":"([^"]+)"', log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_the_program_runs_against_the_spec(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec(source.replace("http://127.0.0.1:8080", url), names)
    names["client"].close()  # type: ignore[attr-defined]
    said = [f"{name} says write to ann@example.com please" for name in ("small", "chat", "assistant")]
    assert capsys.readouterr().out.splitlines() == [*said, "large exact"]


def test_the_table_has_every_stage() -> None:
    table = PAGE.partition("## What stands in front")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) - 1 == len(STAGES) - 1  # without the head; the ledger has two places, and one is told
