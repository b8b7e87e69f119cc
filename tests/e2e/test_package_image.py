"""``fairlead package image``, ``doctor --image``, ``render compose``, ``init ci`` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

SPEC = """server: {host: 0.0.0.0}
access: {required: true}
endpoints:
  churn: {model: "models:/churn@champion"}
"""


def test_the_context_is_written_in_both_forms_of_the_command(run: Any, doubler: Path, tmp_path: Path) -> None:
    words = [str(doubler), "--image", "doubler:1", "--bake", "--no-build", "--context", "context", "--json"]
    done = run("package", *words)
    if "cannot be fetched" in done.stderr:  # no index of packages here
        assert done.returncode == 1
        return
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["context"] == "context"
    assert (told["image"], told["layers"]) == ("", [])
    assert told["labels"]["dev.fairlead.model"] == "doubler"
    first = {path.name: path.read_bytes() for path in (tmp_path / "context").rglob("*") if path.is_file()}
    assert b"uvicorn==" in first["requirements.lock"]
    assert b"mlflow" in first["requirements.lock"]  # keys are in a store
    assert run("package", "image", *words).returncode == 0
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "context").rglob("*") if path.is_file()}


def test_what_is_refused_is_one_sentence(run: Any, doubler: Path) -> None:
    for words, why in (
        ((str(doubler), "--image", "doubler:latest"), "the tag latest"),
        ((str(doubler), "--image", "doubler:1"), "add --bake"),
        ((str(doubler), "--image", "doubler:1", "--bake", "--base", "python"), "--base"),
        ((str(doubler), "--image", "doubler:1", "--bake", "--tool", "crane"), "no plugin named 'crane'"),
    ):
        done = run("package", *words)
        assert done.returncode == 2, done.stderr
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    assert "--image" in run("package", "--help").stdout + run("package", "image", "--help").stdout


def test_doctor_takes_one_thing(run: Any) -> None:
    for words in (("doctor",), ("doctor", "./m.onnx", "--image", "m:1")):
        done = run(*words)
        assert done.returncode == 2
        assert "give one thing to check" in done.stderr


_PODMAN = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
info*) exit 0;;
"image inspect"*) echo '[{{"Id": "a", "RootFS": {{"Layers": ["b"]}}, "Config": {{"User": "10001"}}}}]';;
run*) {run};;
port*) echo 127.0.0.1:1;;
"container inspect"*) echo '[{{"State": {{"Running": true}}, "Config": {{"Labels": {{}}}}}}]';;
esac
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("while_", ["it starts", "it waits"])
def test_doctor_that_is_ended_leaves_no_container(start: Any, tmp_path: Path, number: int, while_: str) -> None:
    log, program = tmp_path / "log", tmp_path / "bin" / "podman"
    program.parent.mkdir()
    program.write_text(_PODMAN.format(log=log, run="exec sleep 60" if while_ == "it starts" else "echo abc"))
    program.chmod(0o755)
    process = start("doctor", "--image", "m:1", PATH=f"{program.parent}:{os.environ['PATH']}")
    ends = time.monotonic() + 30
    while "run --detach" not in (log.read_text() if log.exists() else "") and time.monotonic() < ends:
        time.sleep(0.05)
    time.sleep(0.3)
    assert process.stop(number) == 128 + number
    lines = log.read_text().splitlines()
    (started,) = (line for line in lines if line.startswith("run --detach"))
    name = started.partition("--name ")[2].split()[0]
    assert lines[-1] == f"rm --force --volumes {name}"
    assert name.startswith("fairlead-doctor-")


def test_doctor_takes_no_endless_memory(run: Any) -> None:
    done = run("doctor", "--image", "m:1", "--memory-mb", "inf")
    assert done.returncode == 2
    assert "--memory-mb is inf" in done.stderr


def test_a_spec_becomes_a_stack_and_a_workflow(run: Any, tmp_path: Path) -> None:
    (tmp_path / "fairlead.yaml").write_text(SPEC)
    done = run("render", "compose", "--image", "churn:4")
    assert done.returncode == 0, done.stderr
    assert json.loads(run("render", "compose", "--json").stdout)["services"]["server"]["read_only"] is True
    written = run("render", "compose", "-o", "compose.yaml", "--image", "churn:4")
    assert "compose.yaml config" in written.stdout
    assert (tmp_path / "compose.yaml").read_text() == done.stdout
    assert "actions/checkout" in run("init", "ci").stdout
    assert run("init", "ci", "--provider", "gitlab", "-o", ".gitlab-ci.yml").returncode == 0
    assert "canary" in (tmp_path / ".gitlab-ci.yml").read_text()
    assert json.loads(run("init", "ci", "--json").stdout)["name"] == "model"
    assert run("init", "ci", "--provider", "jenkins").returncode == 2
    assert "endpoints:" in run("init").stdout


def test_a_server_whose_libraries_need_a_gpu_says_so_before_it_loads(run: Any, doubler: Path) -> None:
    done = run("serve", str(doubler), "--port", "0", FAIRLEAD_CUDA="99.0")
    assert done.returncode == 1
    assert "need CUDA 99.0" in done.stderr
    assert "Traceback" not in done.stderr
