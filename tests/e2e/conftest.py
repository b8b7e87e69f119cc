"""The command line as a user runs it: a process, a port, a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper


@dataclass
class Process:
    """A running ``fairlead`` command. ``events``: its log, parsed."""

    popen: subprocess.Popen[str]
    events: list[dict[str, object]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def follow(self) -> None:
        assert self.popen.stderr
        for line in self.popen.stderr:
            self.lines.append(line.rstrip())
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def url(self, seconds: float = 120.0) -> str:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for event in self.events:
                if event["event"] == "ready":
                    return str(event["url"])
            if self.popen.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError("not ready:\n" + "\n".join(self.lines))

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20.0) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(seconds)


Start = Callable[..., Process]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FAIRLEAD_", "MLFLOW_"))}
    return {**kept, "FAIRLEAD_HOME": str(tmp_path / "home"), "USER": "tester", "COLUMNS": "100"}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Start ``fairlead serve`` (or another command that stays) on a free port."""
    running: list[Process] = []

    def begin(*words: str, **more: str) -> Process:
        command = [sys.executable, "-m", "fairlead", *words]
        popen = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            cwd=tmp_path,
            env={**environment, **more},
        )
        process = Process(popen)
        threading.Thread(target=process.follow, daemon=True).start()
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait(10)
        if process.popen.stderr:
            time.sleep(0.05)
            process.popen.stderr.close()


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Run a command to its end."""

    def call(*words: str, seconds: float = 120.0, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fairlead", *words]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment, **more},
            timeout=seconds,
            check=False,
        )

    return call


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    """An ONNX file that doubles ``x``, shape [-1, 2]."""
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "doubler.onnx"
    onnx.save(model, str(path))
    return path
