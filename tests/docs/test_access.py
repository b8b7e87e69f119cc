"""What docs/access.md shows is so: its spec, its commands, its table of routes, and the tests that it names."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from fairlead.cli import keys as commands
from fairlead.cli.main import main
from fairlead.contracts.access import Action
from fairlead.kit.scopes import scope
from fairlead.serve.access.needs import HTTP
from fairlead.serve.access.rules import Rules
from fairlead.testing.state import MemoryState
from fairlead.wiring import access, specs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "access.md").read_text()


def test_the_spec_of_the_page(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    path = tmp_path / "f.yaml"
    path.write_text(block)
    assert specs.rules(specs.read(path).spec) == Rules({"churn": (), "score": (scope("scoring:predict"),)})


def test_the_first_command_makes_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = re.findall(r"^fairlead (keys create .*)$", PAGE, re.MULTILINE)
    store = MemoryState()
    for module in (access, commands):
        monkeypatch.setattr(module, "state", lambda _home: store)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fairlead", *shlex.split(line)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert re.match(r"fl_[a-z2-7]{16}_[a-z2-7]{32}\n", capsys.readouterr().out)


def test_every_action_and_every_open_path_is_told() -> None:
    for action in Action:
        assert f"| `{action.value}` |" in PAGE
    for path, need in HTTP.items():
        assert (f"`{path}`" in PAGE.partition("Without any key")[2].partition("##")[0]) is need.open, path


def test_every_risk_has_tests_that_exist() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| API")]
    assert [row.split()[1] for row in rows] == [f"API{number}" for number in range(1, 11)]
    for row in rows:
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), (file, test)
