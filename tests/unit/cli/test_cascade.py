"""``fairlead cascade``."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def run_(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairlead", "cascade", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(str(ended.value.code)), out, err

    return run_


def labelled(path: Path) -> str:
    chance = random.Random(1)
    rows = []
    for number in range(800):
        sure = chance.random()
        rows.append({"prompt": f"q{number}", "confidence": sure, "cheap": sure > 0.3, "big": True})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_what_is_fitted_is_shown(run: Run, tmp_path: Path) -> None:
    data = labelled(tmp_path / "rows.jsonl")
    code, out, err = run("fit", "assistant", "--step", "small", "--data", data)
    assert code == 0, err
    assert "answers are kept from 0." in out
    assert "on 2" in out.partition("Quality by share")[2]
    code, out, err = run("show", "assistant", "--step", "small", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["signal"], found["data"], found["max_loss"]) == ("mean", "rows.jsonl", 0.02)
    assert 0.25 < found["threshold"] < 0.4
    assert "router" not in found
    code, out, err = run("fit", "assistant", "--step", "small", "--data", data, "--json")
    assert json.loads(out)["frontier"][0]["share"] == 0.0


def test_what_is_wrong_is_told(run: Run, tmp_path: Path) -> None:
    code, _, err = run("show", "assistant", "--step", "small")
    assert (code, "nothing was fitted for small" in err) == (2, True)
    data = labelled(tmp_path / "rows.jsonl")
    code, _, err = run("fit", "assistant", "--step", "small", "--data", data, "--signal", "luck")
    assert (code, "expected one of mean, min, router" in err) == (2, True)
