"""``fairlead doctor`` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper


def model(path: Path, rows: str | int) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 2])
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))
    return path


def doctor(folder: Path, target: Path) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "fairlead", "doctor", str(target), "--home", str(folder / "home"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_good_model(tmp_path: Path) -> None:
    code, said, _ = doctor(tmp_path, model(tmp_path / "m.onnx", "rows"))
    levels = {one["check"]: one["level"] for one in said["findings"]}
    assert (code, said["healthy"]) == (0, True)
    assert levels["batch"] == levels["signature"] == levels["latency"] == "ok"
    assert levels["package"] == levels["example"] == "warn"


def test_a_graph_frozen_to_one_row_fails(tmp_path: Path) -> None:
    code, said, _ = doctor(tmp_path, model(tmp_path / "m.onnx", 1))
    assert code == 1
    assert [one["check"] for one in said["findings"] if one["level"] == "fail"] == ["batch"]


@pytest.mark.parametrize("cut", [10, 40])
def test_a_model_cut_short_is_a_finding_not_a_traceback(tmp_path: Path, cut: int) -> None:
    path = model(tmp_path / "m.onnx", "rows")
    path.write_bytes(path.read_bytes()[:-cut])
    code, said, errors = doctor(tmp_path, path)
    assert code == 1
    assert said["findings"][0]["check"] == "broken_model"
    assert "Traceback" not in errors
