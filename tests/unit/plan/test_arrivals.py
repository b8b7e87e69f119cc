"""Traces as they are read, and as they are made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.plan.arrivals import Arrival, poisson, read
from fairlead.wiring.llm.driving import prompt

CSV = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.9951690,1,1
"""


def test_azure(tmp_path):
    (tmp_path / "trace.csv").write_text(CSV)
    first, second = read(tmp_path, 2, speed=2.0)
    assert first == Arrival(0.0, 374, 44)
    assert (second.at, second.prompt) == (pytest.approx(4.314579 / 2, abs=1e-5), 396)


def test_mooncake(tmp_path):
    line = {"timestamp": 3500, "input_length": 600, "output_length": 5, "hash_ids": [7, 8]}
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({**line, "timestamp": at}) for at in (3500, 4000)))
    [one, other] = read(tmp_path / "t.jsonl", 10)
    assert (one.at, other.at, one.blocks) == (0.0, 0.5, (7, 8))
    assert prompt(one, Random(1)).split()[:512] == prompt(other, Random(2)).split()[:512]
    assert len(prompt(one, Random(1)).split()) == 600


@pytest.mark.parametrize(
    "text", ["TIMESTAMP,ContextTokens,GeneratedTokens\nnow,1,2\n", "a,b\n1,2\n", "TIMESTAMP\n", ""]
)
def test_what_is_no_trace_is_told_with_its_line(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError, match=r"t\.csv"):
        read(tmp_path / "t.csv", 10)


@pytest.mark.parametrize("name", ["none.csv", "none.jsonl", "."])
def test_what_is_not_there(tmp_path, name):
    with pytest.raises(UsageError):
        read(tmp_path / name, 10)


def test_poisson_has_the_rate_that_was_asked_for():
    found = poisson(50.0, 5000, 10, 5, seed=3)
    assert found[-1].at == pytest.approx(100, rel=0.05)
    assert {one.at for one in poisson(0.0, 5, 10, 5, seed=3)} == {0.0}


@pytest.mark.skipif("FAIRLEAD_DATA" not in os.environ, reason="needs the shared traces")
def test_the_real_traces_are_read():
    data = Path(os.environ["FAIRLEAD_DATA"])
    assert len(read(data / "traces-azure-llm-2023", 5000)) == 5000
    assert len(read(data / "traces-mooncake", 100)) == 100
