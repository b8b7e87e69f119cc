"""What a script sees: one JSON document with --json, also when it goes wrong, and never a traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.parametrize(
    "words", [["demo", "--nope"], ["models", "log", "x.onnx"], ["doctor", "--nope"], ["models", "nope"]]
)
def test_wrong_use_is_a_document_too(run, words: list[str]) -> None:
    result = run(*words, "--json")
    assert result.returncode == 2
    assert json.loads(result.stdout)["code"] == "usage"
    assert "Usage: fairlead" in result.stderr


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_an_output_that_takes_nothing_is_one_sentence(environment: dict[str, str]) -> None:
    for words in (["--version"], ["models", "nope", "--json"], ["doctor", "nope.onnx", "--json"]):
        with FULL.open("w") as full:
            command = [sys.executable, "-m", "fairlead", *words]
            result = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
            )
        assert result.returncode in (1, 2), result.stderr
        assert "Traceback" not in result.stderr
        assert "Exception ignored" not in result.stderr


@pytest.mark.slow
def test_a_demo_that_is_interrupted_has_no_result(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fairlead", "demo", "--exit", "--json", "--port", "0", "--seconds", "30"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("  serve"):
                break
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output == ""
