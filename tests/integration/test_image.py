"""A real image, built twice and run by a real tool: read-only, not root, with little memory, asked by tritonclient."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tests.containers import container_folder, tool

from fairlead.client import Client
from fairlead.contracts.containers import ContainerTool, Image, Launch
from fairlead.contracts.errors import ContainerFailed
from fairlead.package import image as images
from fairlead.package.image_check import Budget
from fairlead.wiring.image_check import Check, check

__all__ = ["container_folder"]

BASE = os.environ.get("FAIRLEAD_TEST_BASE", "")
"""An image with this Python; without one it is made of Debian's packages where that can be."""
TAG = "localhost/fairlead-test:1"


@pytest.fixture(scope="module")
def podman(container_folder: Path) -> ContainerTool:
    return tool("podman")


@pytest.fixture(scope="module")
def base(podman: ContainerTool, container_folder: Path) -> str:
    if BASE:
        return BASE
    if platform.python_version_tuple()[:2] != ("3", "11") or not shutil.which("mmdebstrap") or os.getuid() != 0:
        pytest.skip("a base image needs FAIRLEAD_TEST_BASE, or root, mmdebstrap and Python 3.11")
    archive = container_folder / "base.tar"
    making = ["mmdebstrap", "--variant=minbase", "--include=python3,python3-venv", "bookworm", str(archive)]
    done = subprocess.run(making, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no base of Debian's packages: {done.stderr[-300:]}")
    name = "localhost/fairlead-base:1"
    subprocess.run(["podman", "import", str(archive), name], check=True, capture_output=True)
    archive.unlink()
    return name


def package(folder: Path, model: Path, base: str, tag: str, *more: str) -> dict[str, object]:
    words = [str(model), "--image", tag, "--bake", "--base", base, "--tool", "podman", "--build", "--json"]
    command = [sys.executable, "-m", "fairlead", "package", "image", *words, *more, "--home", str(folder / "home")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def image(podman: ContainerTool, base: str, tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    package(folder, doubler(folder), base, TAG, "--context", str(folder / "context"))
    return podman.image(TAG)


def doubler(folder: Path, factor: float = 2.0) -> Path:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "by"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor("by", TensorProto.FLOAT, [1], [factor])],
    )
    path = folder / "doubler.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@pytest.fixture
def started(podman: ContainerTool) -> Iterator[Callable[[Launch], str]]:
    running: list[str] = []

    def start(launch: Launch) -> str:
        running.append(podman.start(launch))
        return running[-1]

    yield start
    for one in running:
        podman.remove(one)


def wait(url: str) -> None:
    import time

    with Client(url, timeout=1.0) as client:
        ends = time.monotonic() + 30
        while not client.ready():
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_it_answers_tritonclient_as_nobody_on_a_read_only_root(
    podman: ContainerTool, image: Image, started: Callable[[Launch], str]
) -> None:
    command = [*image.command[:-1], "--insecure"]
    key = started(Launch(TAG, images.PORT, 512 * 2**20, command=command))
    address = f"127.0.0.1:{podman.port(key, images.PORT)}"
    wait(f"http://{address}")
    client = triton.InferenceServerClient(address)
    asked = triton.InferInput("x", [1, 2], "FP32")
    asked.set_data_from_numpy(np.array([[1.5, -2.0]], np.float32))
    assert client.infer("doubler", [asked]).as_numpy("y").tolist() == [[3.0, -4.0]]
    client.close()
    assert podman.run(key, ["id", "-u"]).strip() == str(images.USER)
    with pytest.raises(ContainerFailed, match="Read-only file system"):
        podman.run(key, ["touch", "/opt/fairlead/x"])
    podman.run(key, images.ready(images.PORT))
    assert 0 < podman.state(key).memory < 512 * 2**20
    assert podman.stop(key, 20) == 0


def test_the_infra_test_passes_it_and_fails_one_that_cannot_start(podman: ContainerTool, image: Image) -> None:
    assert image.command[-1] == "--access"
    found = {one.check: one.level.value for one in check(Check(TAG, Budget(memory=512 * 2**20)), podman)}
    assert found == {"user": "ok", "lineage": "ok", "ready": "ok", "answer": "warn", "memory": "ok", "stop": "ok"}
    asked = Check(TAG, Budget(ready=20), command=("serve", "/nowhere.onnx", "--insecure", "--host", "0.0.0.0"))
    findings = check(asked, podman)
    assert findings[-1].check == "ready"
    assert "no such file" in findings[-1].message
    left = subprocess.run(["podman", "ps", "--all", "--quiet"], capture_output=True, text=True, check=True)
    assert left.stdout == ""


def test_podman_plays_the_rendered_objects(podman: ContainerTool, image: Image, tmp_path: Path) -> None:
    """The file of an endpoint as it is rendered, with a Secret that the spec refers to: started, asked, ended."""
    port = unused()
    spec = f"""tracking: "https://me:${{env:TRACKING_PASSWORD}}@mlflow.example.com"
record: false
server: {{port: {port}}}
deploy: {{image: "{TAG}", secret: shop}}
endpoints:
  doubler:
    model: {baked(image)}
    deploy: {{memory: 512Mi}}
"""
    (tmp_path / "fairlead.yaml").write_text(spec)
    words = ["render", "kubernetes", "fairlead.yaml", "--insecure", "-o", "k8s"]
    subprocess.run([sys.executable, "-m", "fairlead", *words], cwd=tmp_path, check=True, capture_output=True)
    rendered, secret = tmp_path / "k8s" / "doubler.yaml", tmp_path / "secret.yaml"
    secret.write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: shop}\ndata: {TRACKING_PASSWORD: eA==}\n")
    play("kube", secret)
    done = play("kube", rendered)
    if "is not valid JSON" in done.stderr:  # podman 4.3 writes a Secret in one form, and reads it in another
        play("kube", "--down", rendered)
        secret.write_text('{"TRACKING_PASSWORD": "eA=="}')
        subprocess.run(["podman", "secret", "rm", "shop"], capture_output=True, check=True)
        subprocess.run(["podman", "secret", "create", "shop", str(secret)], capture_output=True, check=True)
        done = play("kube", rendered)
    if "pause binary" in done.stderr and os.environ.get("FAIRLEAD_REQUIRE_CONTAINERS") != "1":
        pytest.skip("podman has no program that holds a pod open: install catatonit")
    assert done.returncode == 0, done.stderr
    try:
        listed = ["podman", "ps", "--quiet", "--no-trunc", "--filter", f"ancestor={TAG}"]
        (key,) = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
        wait(f"http://127.0.0.1:{port}")
        with Client(f"http://127.0.0.1:{port}") as client:
            answer = client.predict("doubler", {"x": np.array([[1.5, -2.0]], np.float32)})
        assert answer["y"].tolist() == [[3.0, -4.0]]
        assert podman.run(key, ["id", "-u"]).strip() == str(images.USER)
        with pytest.raises(ContainerFailed, match="Read-only file system"):
            podman.run(key, ["touch", "/opt/fairlead/x"])
        podman.run(key, ["touch", "/var/lib/fairlead/x", "/tmp/x"])
        assert 0 < podman.state(key).memory < 512 * 2**20
        assert podman.stop(key, 30) == 0
    finally:
        play("kube", "--down", rendered)
        subprocess.run(["podman", "secret", "rm", "shop"], capture_output=True, check=False)


def play(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", "play", *map(str, words)], capture_output=True, text=True, check=False)


def baked(image: Image) -> str:
    """The model in an image, by the digest that its command names."""
    return next(word.partition("=")[2] for word in image.command if "#sha256:" in word)


def unused() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


def test_libraries_for_a_gpu_are_refused_where_there_is_none(podman: ContainerTool, image: Image) -> None:
    findings = check(Check(TAG, Budget(ready=20), environment={"FAIRLEAD_CUDA": "99.0"}), podman)
    assert "need CUDA 99.0" in findings[-1].message


def test_two_builds_have_the_same_layers_and_new_weights_one_more_of_their_own(
    image: Image, base: str, tmp_path: Path
) -> None:
    again = package(tmp_path, doubler(tmp_path), base, f"{TAG}-again", "--context", str(tmp_path / "c"), "--no-cache")
    assert again["layers"] == list(image.layers)
    other = package(tmp_path, doubler(tmp_path, 3.0), base, f"{TAG}-other", "--context", str(tmp_path / "c"))
    layers = other["layers"]
    assert isinstance(layers, list)
    assert layers[:-1] == list(image.layers)[:-1]
    assert layers[-1] != image.layers[-1]
