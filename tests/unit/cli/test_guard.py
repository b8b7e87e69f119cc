from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairlead.cli.guard import app
from fairlead.contracts.errors import InputError, UsageError

RUN = CliRunner()


def test_a_text_is_checked_and_what_was_found_is_not_printed() -> None:
    ran = RUN.invoke(app, ["check", "--detector", "pii:email,card", "--json"], input="I am ann@example.com at 10.0.0.1")
    told = json.loads(ran.output)
    assert told["masked"] == "I am <EMAIL> at 10.0.0.1"
    assert told["findings"] == [{"detector": "pii", "kind": "email", "start": 5, "end": 20, "score": 1.0}]
    assert "ann@" not in ran.output


def test_nothing_found() -> None:
    ran = RUN.invoke(app, ["check", "--text", "Hello", "--detector", "pii"])
    assert ran.output.split() == ["nothing", "was", "found", "Hello"]


@pytest.mark.parametrize("words", [["--channel", "users"], ["--detector", "pie"]])
def test_wrong_use(words: list[str]) -> None:
    assert isinstance(RUN.invoke(app, ["check", "--text", "x", *words]).exception, UsageError)


def test_examples_that_are_none_are_named(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "a"}\n\n{"txt": 1}\n')
    ran = RUN.invoke(app, ["train", "--data", str(data), "-o", str(tmp_path / "m.onnx")])
    assert isinstance(ran.exception, InputError)
    assert "data.jsonl:3" in str(ran.exception)
    assert isinstance(RUN.invoke(app, ["train", "--data", "nowhere", "-o", "x"]).exception, UsageError)
