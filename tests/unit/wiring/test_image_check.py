"""The infra test, with containers in memory: what each verdict stands on, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from fairlead import client as clients
from fairlead.contracts.containers import Image, Launch, State
from fairlead.contracts.errors import AddressInUse, ContainerFailed, SourceNotFound
from fairlead.kit import owners
from fairlead.package import image_check as verdicts
from fairlead.package.doctor import Level
from fairlead.package.image_check import Budget
from fairlead.testing.containers import Container, MemoryContainers
from fairlead.wiring import image_check
from fairlead.wiring.image_check import Check, check

IMAGE = Image(
    "id", ("sha256:a",), {"dev.fairlead.model": "churn", "dev.fairlead.endpoint": "churn"}, user="10001:10001"
)
EXAMPLE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}],
}


def tool(begin: Callable[[Launch], Container], **labels: str) -> MemoryContainers:
    found = MemoryContainers(begin)
    found.images["churn:4"] = Image(IMAGE.id, IMAGE.layers, {**IMAGE.labels, **labels}, user=IMAGE.user)
    return found


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.Client, "ready", lambda _self: True)


def levels(findings: list[verdicts.Finding]) -> dict[str, str]:
    return {one.check: one.level.value for one in findings}


@pytest.mark.usefixtures("ready")
def test_an_image_that_does_what_it_should_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.Client, "metadata", lambda _self, _name: {})
    monkeypatch.setattr(clients.Client, "predict", lambda _self, _name, row: {"y": row["x"] * 2})
    found = tool(lambda _: Container(), **{"dev.fairlead.example": json.dumps(EXAMPLE)})
    findings = check(Check("churn:4", Budget(memory=2**30)), found)
    assert set(levels(findings).values()) == {"ok"}
    assert list(levels(findings)) == ["user", "lineage", "ready", "answer", "latency", "memory", "stop"]
    assert found.removed == list(found.launched)


@pytest.mark.usefixtures("ready")
def test_another_answer_than_was_recorded_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.Client, "metadata", lambda _self, _name: {})
    monkeypatch.setattr(clients.Client, "predict", lambda _self, _name, row: {"y": row["x"] * 3})
    found = tool(lambda _: Container(), **{"dev.fairlead.example": json.dumps(EXAMPLE)})
    findings = check(Check("churn:4"), found)
    assert levels(findings)["answer"] == "fail"
    assert found.containers == {}


def test_text_where_a_number_was_recorded_fails() -> None:
    found = verdicts.of_answer({"y": np.array([1.0])}, {"y": np.array(["abc"], object)})
    assert found.level is Level.FAIL
    assert "abc" in found.message


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("label", ["{", "[]", '{"inputs": 1, "outputs": 1}', '{"inputs": [{}], "outputs": []}'])
def test_a_label_that_is_no_example_fails(label: str) -> None:
    findings = check(Check("churn:4"), tool(lambda _: Container(), **{"dev.fairlead.example": label}))
    assert levels(findings)["answer"] == "fail"
    assert levels(findings)["stop"] == "ok"


@pytest.mark.usefixtures("ready")
def test_a_container_that_does_not_stop_well_or_has_no_example_is_told() -> None:
    findings = check(Check("churn:4"), tool(lambda _: Container(ends=137)))
    assert levels(findings)["stop"] == "fail"
    assert levels(findings)["answer"] == "warn"


def test_a_container_that_ended_says_why_and_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.Client, "ready", lambda _self: False)
    monkeypatch.setattr(image_check, "_POLL", 0.0)
    found = tool(lambda _: Container(running=False, exit_code=1, said="one\nfairlead: no registry"))
    findings = check(Check("churn:4"), found)
    assert levels(findings)["ready"] == "fail"
    assert "no registry" in findings[-1].message
    assert found.removed == list(found.launched)


def test_it_waits_no_longer_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.Client, "ready", lambda _self: False)
    monkeypatch.setattr(image_check, "_POLL", 0.0)
    ticks = itertools.count()
    findings = check(Check("churn:4", Budget(ready=3)), tool(lambda _: Container()), now=lambda: float(next(ticks)))
    assert "not ready after 3 s" in findings[-1].message


@pytest.mark.usefixtures("ready")
def test_a_key_is_made_where_callers_must_show_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def metadata(self: clients.Client, _name: str) -> dict[str, str]:
        shown.append(str(self._core.headers.get("authorization")))
        return {}

    monkeypatch.setattr(clients.Client, "metadata", metadata)
    monkeypatch.setattr(clients.Client, "predict", lambda _self, _name, row: {"y": row["x"] * 2})
    answers = {("fairlead", "keys"): '{"key": "fl_secret"}'}
    found = tool(lambda _: Container(answers=answers), **{"dev.fairlead.example": json.dumps(EXAMPLE)})
    check(Check("churn:4", command=("serve", "--access")), found)
    assert shown == ["Bearer fl_secret"]
    broken = tool(lambda _: Container(answers={("fairlead", "keys"): "no"}))
    with pytest.raises(ContainerFailed, match="keys create"):
        check(Check("churn:4", command=("serve", "--access")), broken)
    assert broken.removed == list(broken.launched)


@pytest.mark.parametrize("after", ["start", "ready"])
def test_one_that_is_interrupted_removes_its_container(monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    def killed(_: object) -> bool:
        raise SystemExit(143)

    def begin(_: Launch) -> Container:  # the tool was ended while it started it: it may be there, and has no id yet
        found.containers[next(iter(found.launched))] = Container()
        raise SystemExit(143)

    monkeypatch.setattr(clients.Client, "ready", killed)
    found = tool(begin if after == "start" else lambda _: Container())
    with pytest.raises(SystemExit):
        check(Check("churn:4"), found)
    assert found.removed == list(found.launched) != []


@pytest.mark.usefixtures("ready")
def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else() -> None:
    found = tool(lambda _: Container())
    ended = subprocess.run(
        [sys.executable, "-c", "from fairlead.kit import owners; print(owners.here())"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    machine = ended.split()[0]
    owned = {
        "killed": ended,
        "reused": f"{machine} {os.getpid()} 1",
        "running": owners.here(),
        "elsewhere": f"other-{machine} 1 1",
        "odd": "",
    }
    for name, owner in owned.items():
        found.start(Launch("churn:4", 8080, name=name, labels={"dev.fairlead.doctor": owner}))
    found.start(Launch("churn:4", 8080, name="theirs"))
    check(Check("churn:4"), found)
    assert found.removed[:2] == ["killed", "reused"]
    assert list(found.containers) == ["running", "elsewhere", "odd", "theirs"]


def test_an_image_that_is_not_here_is_named() -> None:
    with pytest.raises(SourceNotFound, match="other:1"):
        check(Check("other:1"), MemoryContainers())


@pytest.mark.parametrize(("user", "level"), [("", "fail"), ("0:0", "fail"), ("root", "fail"), ("10001", "ok")])
def test_root_is_refused(user: str, level: str) -> None:
    assert verdicts.of_image(Image("id", (), user=user))[0].level == level


def test_answers_are_the_same_within_rounding() -> None:
    wanted = {"y": np.array([1.0, 2.0]), "label": np.array(["a"], object)}
    assert verdicts.of_answer(wanted, {"y": np.array([[1.00001, 2.0]]), "label": np.array(["a"])}).level is Level.OK
    assert verdicts.of_answer(wanted, {"y": np.array([1.1, 2.0]), "label": np.array(["a"])}).level is Level.FAIL
    assert verdicts.of_answer(wanted, {"y": np.array([1.0, 2.0]), "label": np.array(["b"])}).level is Level.FAIL
    assert "has no 'y'" in verdicts.of_answer(wanted, {}).message
    assert verdicts.of_answer({"y": np.zeros(2)}, {"y": np.zeros(3)}).level is Level.FAIL


def test_budgets_are_held() -> None:
    assert verdicts.of_latency([0.001] * 99 + [0.5] * 3, Budget(latency=0.1)).level is Level.FAIL
    assert verdicts.of_latency([0.001] * 50, Budget(latency=0.1)).level is Level.OK
    assert verdicts.of_latency([0.5], Budget()).level is Level.OK
    assert verdicts.of_memory(State(True, memory=200), Budget(memory=100)).level is Level.FAIL
    assert verdicts.of_memory(State(True, memory=50), Budget(memory=100)).level is Level.OK
    assert verdicts.of_memory(State(True), Budget()).level is Level.WARN
    assert "over its memory" in verdicts.of_memory(State(False, 137), Budget()).message
    assert "killed: over its memory" in verdicts.of_start(None, State(False, 137), "", Budget()).message


@pytest.mark.parametrize(
    ("command", "environment", "hinted"),
    [
        (("serve", "churn=models:/churn/1#sha256:aa"), {}, True),
        (("serve", "churn=models:/churn/1#sha256:aa"), {"FAIRLEAD_TRACKING": ""}, False),
        (("serve", "churn=/opt/weights/m.onnx"), {}, False),
    ],
)
def test_one_that_pulls_its_weights_and_is_told_no_registry_says_so(
    command: tuple[str, ...], environment: dict[str, str], hinted: bool
) -> None:
    found = tool(lambda _: Container(running=False, exit_code=1))
    found.images["churn:4"] = Image(IMAGE.id, IMAGE.layers, IMAGE.labels, command=command, user=IMAGE.user)
    findings = check(Check("churn:4", Budget(ready=0.5), environment=environment), found)
    assert ("weights" in levels(findings)) is hinted
    assert findings[2].message == "ended with 1, and said: nothing"


@pytest.mark.parametrize(("network", "asked"), [("", "http://127.0.0.1:1"), ("host", "http://127.0.0.1:8080")])
def test_a_server_of_this_machine_is_not_asked_for_a_container_that_ended(
    monkeypatch: pytest.MonkeyPatch, network: str, asked: str
) -> None:
    urls: set[str] = set()
    monkeypatch.setattr(clients.Client, "ready", lambda self: urls.add(self._core.url) or False)
    monkeypatch.setattr("socket.create_connection", lambda *_: (_ for _ in ()).throw(ConnectionRefusedError()))
    found = tool(lambda _: Container(running=False, exit_code=1, said="no such model"))
    findings = check(Check("churn:4", Budget(ready=2.0), network=network), found)
    assert findings[2].message == "ended with 1, and said: no such model"
    assert urls == {asked}


def test_the_port_of_the_machine_is_not_asked_where_somebody_else_answers_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = tool(lambda _: Container())
    asked: list[object] = []

    def answered(address: object, _timeout: float) -> contextlib.AbstractContextManager[None]:
        asked.append(address)
        return contextlib.nullcontext()

    monkeypatch.setattr("socket.create_connection", answered)
    with pytest.raises(AddressInUse, match="port 8080 of this machine is another process's"):
        check(Check("churn:4", network="host"), found)
    assert (asked, found.launched) == ([("127.0.0.1", 8080)], {})
