"""Images with a container tool in memory and pip as a function: what is made of a model, and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.contracts.errors import BrokenModel, ContainerFailed, SourceNotFound, UsageError
from fairlead.kit import plugins
from fairlead.kit.config import Home
from fairlead.package import image
from fairlead.testing.containers import MemoryContainers
from fairlead.wiring import images
from fairlead.wiring.images import Wanted, make, tensors

DIGEST = "sha256:" + "a" * 64


def pip(command: Sequence[str]) -> tuple[int, str]:
    """Downloads what the roots name, and ours as it is."""
    folder = Path(command[command.index("--dest") + 1])
    for root in command:
        if ".whl" in root:
            own = Path(root.partition("[")[0])
            (folder / own.name).write_bytes(own.read_bytes())
    return 0, ""


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> dict[str, MemoryContainers]:
    """Tools by name; none is usable until a test says so."""
    found = {name: MemoryContainers(broken=f"{name} is not on the PATH") for name in ("buildah", "docker", "podman")}
    real = plugins.load
    monkeypatch.setattr(plugins, "names", lambda _group: list(found))
    monkeypatch.setattr(
        plugins, "load", lambda group, name: (lambda: found[name]) if group == images.GROUP else real(group, name)
    )
    return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", f"sqlite:///{tmp_path}/m.db", f"sqlite:///{tmp_path}/s.db", "tester")


def model(path: Path, *, beside: bool = False) -> Path:
    weights = numpy_helper.from_array(np.full((2, 2), 2.0, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, str(path), save_as_external_data=beside, location="w.bin", size_threshold=0)
    return path


def test_without_a_tool_the_context_is_written_and_the_sentence_says_what_to_install(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path
) -> None:
    made = make(Wanted(str(model(tmp_path / "m.onnx")), "m:1", bake=True), home, pip)
    assert made.image is None
    assert "install podman, buildah or docker" in made.why
    assert "docker is not on the PATH" in made.why
    assert made.context == home.root / "images" / image.folder("m:1")
    assert "\nARG BASE\n" in (made.context / "Dockerfile").read_text()
    assert {path.name for path in made.context.iterdir()} == {
        "Dockerfile", ".dockerignore", "requirements.lock", "wheels", "weights", "sbom.cdx.json",
    }  # fmt: skip


def test_names_that_look_alike_have_contexts_of_their_own() -> None:
    names = [image.folder(tag) for tag in ("a/b:1", "a_b:1", "a/b_1:1", "a:b_1", "a" * 150 + ":1", "a" * 150 + ":2")]
    assert len(set(names)) == len(names)
    assert names[0].startswith("a_b_1-")
    assert all("/" not in one and ":" not in one and len(one) < 120 for one in names)


@pytest.mark.usefixtures("tools")
def test_two_builds_into_one_context_take_turns(home: Home, tmp_path: Path) -> None:
    inside, most = [0], [0]

    def slow(command: Sequence[str]) -> tuple[int, str]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.2)
        inside[0] -= 1
        return pip(command)

    uris = [model(tmp_path / f"{name}.onnx") for name in ("one", "two")]
    with ThreadPoolExecutor() as pool:
        one, two = pool.map(lambda uri: make(Wanted(str(uri), "m:1", bake=True), home, slow), uris)
    assert most == [1]
    assert one.context == two.context
    baked = list((one.context / "weights").rglob("*.onnx"))
    text = (one.context / "Dockerfile").read_text()
    assert len(baked) == 1  # of the one that came last, whole
    assert baked[0].name in text
    assert json.loads((one.context / "sbom.cdx.json").read_text())["components"][1]["name"] == baked[0].stem


@pytest.mark.usefixtures("tools")
def test_other_images_are_built_meanwhile(home: Home, tmp_path: Path) -> None:
    both = Barrier(2, timeout=20)

    def meets(command: Sequence[str]) -> tuple[int, str]:
        both.wait()
        return pip(command)

    uri = str(model(tmp_path / "m.onnx"))
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda tag: make(Wanted(uri, tag, bake=True), home, meets), ("a/b:1", "a_b:1")))
    assert made[0].context != made[1].context


def test_who_asks_for_a_build_gets_an_error_without_a_tool(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path
) -> None:
    asked = Wanted(str(model(tmp_path / "m.onnx")), "m:1", bake=True, build=True)
    with pytest.raises(ContainerFailed, match="install podman"):
        make(asked, home, pip)


def test_the_first_tool_that_works_builds_on_the_digest_that_it_knows(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path
) -> None:
    tools["docker"] = MemoryContainers()
    made = make(Wanted(f"churn={model(tmp_path / 'm.onnx')}", "m:1", bake=True, base="python:3.11"), home, pip)
    assert made.tool == "docker"
    assert made.facts.base.digest == tools["docker"].digest("python:3.11")
    assert made.facts.endpoint == "churn"
    assert tools["docker"].images["m:1"] == made.image
    with pytest.raises(ContainerFailed, match="podman is not on the PATH"):
        images.tool_for("podman")
    tools["docker"].runs = False
    with pytest.raises(ContainerFailed, match="docker runs no containers"):
        images.tool_for("", runs=True)


def test_an_image_for_another_machine_has_its_base_and_is_built_for_it(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path
) -> None:
    tools["podman"] = MemoryContainers()
    asked = Wanted(str(model(tmp_path / "m.onnx")), "m:1", bake=True, base="python:3.11", platform="linux/arm64")
    made = make(asked, home, pip)
    assert made.image is not None
    assert made.image.platform == "linux/arm64"
    assert tools["podman"].digested == {"python:3.11": "linux/arm64"}


def test_two_contexts_of_the_same_model_are_the_same(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path
) -> None:
    path = model(tmp_path / "m.onnx")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        make(Wanted(str(path), "m:1", folder, f"python@{DIGEST}", bake=True), home, pip)
    contents = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in folders
    ]
    assert contents[0] == contents[1]


def test_baked_weights_lie_under_their_digest(tools: dict[str, MemoryContainers], home: Home, tmp_path: Path) -> None:
    made = make(
        Wanted(str(model(tmp_path / "m.onnx")), "m:1", tmp_path / "c", f"python@{DIGEST}", bake=True), home, pip
    )
    digest = made.facts.uri.rpartition(":")[2]
    assert made.facts.uri == f"/opt/weights/{digest}/m.onnx#sha256:{digest}"
    assert (tmp_path / "c" / "weights" / digest / "m.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_a_build_needs_the_digest_of_the_base(tools: dict[str, MemoryContainers], home: Home, tmp_path: Path) -> None:
    tools["podman"] = MemoryContainers()
    tools["podman"].digest = lambda *_: ""  # type: ignore[method-assign]
    with pytest.raises(ContainerFailed, match="--base IMAGE@sha256:DIGEST"):
        make(Wanted(str(model(tmp_path / "m.onnx")), "m:1", bake=True), home, pip)


def test_what_no_image_can_have_is_refused(tools: dict[str, MemoryContainers], home: Home, tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"model": str(path)}, "add --bake"),
        ({"model": "pkg.module:Class"}, "a class of your own"),
        ({"model": "oip+http://127.0.0.1:1/m"}, "on another server"),
        ({"model": str(path), "tag": "m:latest"}, "latest"),
        ({"model": str(path), "bake": True, "cuda": "12.4"}, "--base"),
        ({"model": str(path), "bake": True, "base": "python"}, "--base"),
        ({"model": str(path), "bake": True, "platform": "windows"}, "--platform"),
        ({"model": str(model(tmp_path / "big.onnx", beside=True)), "bake": True}, "w.bin beside it"),
    ]
    for given, why in refused:
        with pytest.raises(UsageError, match=why):
            make(Wanted(**{"tag": "m:1", **given}), home, pip)
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "chat.gguf").write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(UsageError, match="is a language model"):
        make(Wanted(str(tmp_path / "chat" / "chat.gguf"), "m:1", bake=True), home, pip)


def test_a_folder_with_files_of_somebody_else_is_left_as_it_is(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path
) -> None:
    weights = tmp_path / "work" / "weights"
    weights.mkdir(parents=True)
    path = model(weights / "churn.onnx")
    wanted = Wanted(str(path), "churn:1", weights.parent, f"b@{DIGEST}", bake=True)
    with pytest.raises(UsageError, match="has weights that"):
        make(wanted, home, pip)
    assert [one.name for one in weights.parent.rglob("*")] == ["weights", "churn.onnx"]


def test_a_context_that_was_begun_is_gone_on_with(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path
) -> None:
    wanted = Wanted(str(model(tmp_path / "churn.onnx")), "churn:1", tmp_path / "context", f"b@{DIGEST}", bake=True)
    with pytest.raises(BrokenModel, match="cannot be fetched"):
        make(wanted, home, lambda _command: (1, "no network"))
    assert make(wanted, home, pip).wheels == make(wanted, home, pip).wheels == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"extras": ("postgre",)}, "--extra is 'postgre'; did you mean postgres\\?; expected one of .*postgres"),
        ({"platform": "linux/arm"}, "--platform is 'linux/arm'; expected linux/amd64 or linux/arm64"),
        ({"context": Path("/etc/passwd")}, "--context /etc/passwd is no folder"),
        ({"tag": "localhost//churn:4"}, "--image is 'localhost//churn:4'; expected NAME:TAG"),
        ({"tag": "churn-:4"}, "expected NAME:TAG"),
        ({"tag": "Churn:4"}, "expected NAME:TAG"),
    ],
)
def test_wishes_are_held_against_what_there_is_before_anything_is_fetched(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    tools["podman"] = MemoryContainers()

    def never(_: Sequence[str]) -> tuple[int, str]:
        raise AssertionError

    with pytest.raises(UsageError, match=said):
        make(Wanted(**{"model": str(model(tmp_path / "m.onnx")), "tag": "m:1", "bake": True} | asked), home, never)
    assert not tools["podman"].digested
    assert not (home.root / "images").exists()


@pytest.mark.parametrize("tag", ["churn:4", "localhost:5000/a/churn:4", "r.example.com/a__b/c--d/e_f.g:v1.0_x"])
def test_names_as_registries_take_them(tag: str) -> None:
    assert image.tagged(tag) == tag


@pytest.mark.usefixtures("tools")
def test_a_model_that_is_not_there_is_not_asked_to_be_baked(home: Home, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no such file"):
        make(Wanted(str(tmp_path / "nope.onnx"), "m:1"), home, pip)


def test_a_tool_that_was_named_is_the_one_that_is_told_of(tools: dict[str, MemoryContainers]) -> None:
    tools["podman"], tools["buildah"].runs = MemoryContainers(), False  # type: ignore[misc] - as buildah has it
    with pytest.raises(ContainerFailed, match="^docker is not on the PATH; or leave --tool docker out"):
        images.tool_for("docker")
    tools["podman"] = MemoryContainers(broken="podman is not on the PATH")
    with pytest.raises(ContainerFailed, match="the image was not started: install podman or docker"):
        images.tool_for("", runs=True)


def test_a_base_that_cannot_be_fetched_says_what_else_there_is(
    tools: dict[str, MemoryContainers], home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools["podman"] = MemoryContainers()

    def refused(*_: object) -> str:
        raise ContainerFailed("podman ended with 125 fetching python:3.11: no such host")

    monkeypatch.setattr(tools["podman"], "digest", refused)
    with pytest.raises(ContainerFailed, match=r"no such host; name a base for linux/amd64 .*--base .*--no-build"):
        make(Wanted(str(model(tmp_path / "m.onnx")), "m:1", bake=True), home, pip)


def test_an_example_becomes_arrays_again() -> None:
    listed = json.loads('[{"name":"a","datatype":"BYTES","shape":[2,1],"data":["x","y"]},'
                        '{"name":"b","datatype":"FP32","shape":[1,2],"data":[1.5,2.0]}]')  # fmt: skip
    found = tensors(listed)
    assert found["a"].tolist() == [["x"], ["y"]]
    assert found["b"].shape == (1, 2)
