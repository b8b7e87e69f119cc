"""The example of docs/batch.md does what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "batch.md"


def test_the_example_runs(tmp_path: Path) -> None:
    example = PAGE.read_text().partition("## Try it")[2].partition("## Columns")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", example, re.DOTALL | re.MULTILINE)
    predictor, customers, command, scores, rejected = (body for _, body in blocks)
    (tmp_path / "scoring.py").write_text(predictor)
    (tmp_path / "customers.csv").write_text(customers)
    words = [sys.executable, "-m", "fairlead", *shlex.split(command)[1:]]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "scores.csv").read_text() == scores
    assert (tmp_path / "scores.csv.rejected.jsonl").read_text() == rejected
    assert "2 rows scored" in ran.stdout


def test_the_document_of_json_is_described(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "class P:\n    inputs = [('a', 'FP32', [-1, 1])]\n    outputs = [('y', 'FP32', [-1])]\n"
        "    def predict(self, inputs):\n        return {'y': inputs['a'][:, 0]}\n"
    )
    (tmp_path / "in.csv").write_text("a\n1\n")
    words = ["batch", "m:P", "--input", "in.csv", "--output", "out", "--json"]
    ran = subprocess.run([sys.executable, "-m", "fairlead", *words], cwd=tmp_path, capture_output=True, check=True)
    for key in re.findall(rb'^  "(\w+)":', ran.stdout, re.MULTILINE):
        assert f"`{key.decode()}`" in PAGE.read_text(), key
