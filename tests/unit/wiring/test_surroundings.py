"""A spec against what is around it: what is told of what is there, of what is not, and of what keeps silent."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import onnx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from onnx import TensorProto, helper

from fairlead.kit import cuda, plugins
from fairlead.kit.spec import read as files
from fairlead.package.doctor import Finding, Level
from fairlead.wiring import specs
from fairlead.wiring.surroundings import examined, models, reached


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FAIRLEAD_HOME", "FAIRLEAD_TRACKING", "FAIRLEAD_STATE", "FAIRLEAD_CUDA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def doubler(path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def certificate(path: Path, begins: float, ends: float) -> None:
    """Self-signed, with its key, for days from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now + dt.timedelta(days=begins)).not_valid_after(now + dt.timedelta(days=ends))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)


def told(text: str, **more: Any) -> dict[str, Finding]:
    """By check; of several the worst."""
    Path("fairlead.yaml").write_text(text)
    found: dict[str, Finding] = {}
    for one in examined.examine(Path("fairlead.yaml"), Path("home"), **more):
        if one.check not in found or one.level is not Level.OK:
            found[one.check] = one
    return found


class Answers(BaseHTTPRequestHandler):
    """``/v1/models`` with the token ``right``, 45 seconds behind; anything else 404."""

    late = 45.0

    def do_GET(self) -> None:
        known = self.path == "/v1/models"
        allowed = self.headers.get("authorization") == "Bearer right"
        self.send_response_only((200 if allowed else 401) if known else 404)
        self.send_header("date", email.utils.formatdate(time.time() - self.late, usegmt=True))
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_a_spec_that_can_be_served_here_has_nothing_that_fails(tmp_path: Path) -> None:
    doubler(tmp_path / "m.onnx")
    found = told(f"server: {{port: {free()}}}\nendpoints:\n  a: {{model: ./m.onnx}}\n")
    assert not [one for one in found.values() if one.level is Level.FAIL]
    assert "takes x FP32; gives y FP32" in found["model"].message
    assert found["model"].message.startswith("fairlead.yaml:3: endpoints.a.model")
    assert {"spec", "port", "disk", "state", "clock", "containers", "model"} <= set(found)
    assert not (tmp_path / "home").exists()  # looking makes nothing


def test_what_is_wrong_with_the_spec_itself_is_the_finding() -> None:
    assert told("endpoints: {a: {modle: x}}")["spec"].message.endswith("did you mean model?")
    missing = told("endpoints: {a: {model: ./none.onnx}}")
    assert missing["spec"].level is missing["model"].level is Level.FAIL
    Path("broken.onnx").write_bytes(b"\x08\x09")
    assert told("endpoints: {a: {model: ./broken.onnx}}")["model"].level is Level.FAIL


def test_a_secret_is_looked_for_and_never_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str) -> None:
    monkeypatch.setenv("CHAT_TOKEN", "right")
    text = f"endpoints: {{chat: {{llm: {{engine: openai, model: m, base_url: {server}/v1, token: env:CHAT_TOKEN}}}}}}"
    found = examined.examine(_spec(text), tmp_path / "home")
    assert Finding(Level.OK, "secret", "s.yaml:1: endpoints.chat.llm.token: env:CHAT_TOKEN is there") in found
    assert [one.level for one in found if one.check == "llm"] == [Level.OK]
    assert "right" not in str([one for one in found if one.check == "secret"]).replace("is there", "")
    monkeypatch.setenv("CHAT_TOKEN", "wrong-secret")
    refused = told(text)
    assert "refuses the token (401)" in refused["llm"].message
    assert "wrong-secret" not in str(refused)
    monkeypatch.delenv("CHAT_TOKEN")
    assert "'CHAT_TOKEN' is not set" in told(text)["secret"].message
    gone = told("state: postgresql://a:${env:GONE}@db.example.com/x\nendpoints: {a: {model: ./m.onnx}}")
    assert gone["secret"].level is gone["stores"].level is Level.FAIL


def _spec(text: str) -> Path:
    Path("s.yaml").write_text(text)
    return Path("s.yaml")


def test_a_clock_that_is_off_is_told(server: str) -> None:
    found = told(f"endpoints: {{chat: {{llm: {{engine: openai, model: m, base_url: {server}/v1}}}}}}")
    assert found["clock"].level is Level.WARN
    assert "4" in found["clock"].message.partition(" seconds ahead of http://127.0.0.1")[0]
    clocks = reached.Clocks()
    clocks.hear("far", {"date": email.utils.formatdate(time.time() + 300, usegmt=True)}, time.time())
    assert clocks.found().level is Level.FAIL
    assert "behind far" in clocks.found().message
    clocks = reached.Clocks()
    clocks.hear("near", {"date": email.utils.formatdate(time.time(), usegmt=True)}, time.time())
    clocks.hear("silent", {}, time.time())
    assert clocks.found() == Finding(Level.OK, "clock", "within 5 seconds of near")


def test_what_does_not_answer_is_named_with_its_line_and_what_to_do() -> None:
    port = free()
    found = told(
        f"redis: redis://127.0.0.1:{port}/0\nstate: postgresql://u:p@127.0.0.1:{port}/x\n"
        f"tracking: http://127.0.0.1:{port}\ntraces: {{otlp: http://127.0.0.1:{port}/v1/traces}}\n"
        f"access: {{jwt: {{issuer: http://127.0.0.1:{port}, audience: a}}}}\n"
        f"endpoints:\n  up: {{upstream: {{urls: [http://127.0.0.1:{port}]}}}}\n"
    )
    levels = {one: found[one].level for one in ("redis", "state", "registry", "issuer", "upstream", "traces")}
    assert levels == {**dict.fromkeys(levels, Level.FAIL), "traces": Level.WARN}
    assert found["redis"].message.startswith("fairlead.yaml:1: redis")
    assert found["upstream"].message.startswith("fairlead.yaml:7: endpoints.up.upstream")
    assert "u:p" not in str(found)


def test_no_finding_shows_what_an_address_keeps_secret(server: str) -> None:
    for host in (server, f"http://127.0.0.1:{free()}"):
        url = f"{host.replace('://', '://user:hunter2@')}/x?api_key=hunter3"
        found = told(
            f"traces: {{otlp: '{url}'}}\naccess: {{jwt: {{issuer: 'http://a', jwks: '{url}', audience: a}}}}\n"
            f"endpoints: {{chat: {{llm: {{engine: openai, model: m, base_url: '{url}'}}}}}}\n"
        )
        assert {"issuer", "traces", "llm"} <= set(found)
        assert "hunter" not in str(found), found
    slow = [*reached.checks(files.read(Path("fairlead.yaml")), reached.Clocks())]  # what is told of one that is late
    assert len(slow) == 3
    assert "hunter" not in str([one.what for one in slow])


def test_one_that_keeps_silent_is_not_waited_for() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        port = silent.getsockname()[1]
        began = time.monotonic()
        found = told(
            f"tracking: http://127.0.0.1:{port}\ntraces: {{otlp: http://127.0.0.1:{port}/v1/traces}}\n"
            f"endpoints: {{up: {{upstream: {{urls: [http://127.0.0.1:{port}]}}}}}}",
            seconds=1.0,
        )
        assert time.monotonic() - began < 15
    assert "did not answer in 1 seconds" in found["upstream"].message
    assert found["registry"].level is found["upstream"].level is Level.FAIL


def test_neither_a_stuck_container_tool_nor_a_model_that_never_loads_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("podman", "docker", "buildah"):
        (tmp_path / name).write_text("#!/bin/sh\nexec /bin/sleep 25\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "stuck.py").write_text(
        "import time\nclass Sleeps:\n    def __init__(self):\n        time.sleep(25)\n"
        "    def predict(self, inputs):\n        return inputs\n"
        "class Ends(Sleeps):\n    def __init__(self):\n        raise SystemExit('no weights')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = _spec("endpoints:\n  slow: {model: 'stuck:Sleeps'}\n  ends: {model: 'stuck:Ends'}\n")
    began = time.monotonic()
    found = examined.examine(spec, tmp_path / "home", seconds=1.0, loading=2.0)
    assert time.monotonic() - began < 20
    assert Finding(
        Level.WARN, "containers", "the container tool did not answer in 1 seconds; is it reached from here?"
    ) in found  # fmt: skip
    slow, ends = (one for one in found if one.check == "model")
    assert slow.message.startswith("s.yaml:2: endpoints.slow.model: stuck:Sleeps did not answer in 2 seconds")
    assert slow.level is ends.level is Level.FAIL
    assert "no weights" in ends.message


def test_a_library_that_raises_anything_is_a_finding() -> None:
    def raises() -> Iterator[Finding]:
        yield Finding(Level.OK, "x", "said")
        raise RuntimeError("http://u:secret@host is broken")

    found = examined.bounded([reached.Check("x", "what", raises)], 5.0)
    assert [one.message for one in found] == ["said", "what: RuntimeError: http://***@host is broken"]


@pytest.mark.parametrize(
    ("begins", "ends", "level", "words"),
    [
        (-1, 90, "ok", "holds for 90 days more"),
        (-90, 3, "warn", "ends in 3.0 days"),
        (-90, -1, "fail", "has ended"),
        (1, 90, "fail", "holds only in 24.0 hours"),
    ],
)
def test_a_certificate_is_held_against_the_clock(begins: float, ends: float, level: str, words: str) -> None:
    certificate(Path("server.pem"), begins, ends)
    found = told("server: {tls: {cert: server.pem}}\nendpoints: {a: {model: ./m.onnx}}")["certificate"]
    assert (found.level.value, words in found.message) == (level, True), found


def test_a_certificate_that_is_none_is_told_with_its_line() -> None:
    Path("server.pem").write_text("no")
    found = told("server: {tls: {cert: server.pem}}\nendpoints: {a: {model: ./m.onnx}}")["certificate"]
    assert found.message.startswith("fairlead.yaml:1: server.tls: TLS: no certificate in server.pem")


def test_a_port_that_somebody_has_and_an_address_of_another_machine() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = told(f"server: {{port: {port}, grpc_port: 0}}\nendpoints: {{a: {{model: ./m.onnx}}}}")
        assert found["port"].level is Level.FAIL
        assert "stop what listens there" in found["port"].message
    other = told("server: {host: 192.0.2.1}\naccess: {required: true}\nendpoints: {a: {model: ./m.onnx}}")
    assert "name an address of this machine" in other["port"].message


def test_room_and_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def usage(_path: object) -> Any:
        return type("Usage", (), {"free": 100 * 2**20})

    monkeypatch.setattr(shutil, "disk_usage", usage)
    found = told("endpoints: {a: {model: ./m.onnx}}")["disk"]
    assert (found.level, "0.1 GiB are free" in found.message) == (Level.FAIL, True)
    there = told("events: /proc/nowhere\nendpoints: {a: {model: ./m.onnx}}")["disk"]
    assert "/proc/nowhere cannot be written to" in there.message


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "driver", lambda: None)
    text = "endpoints: {a: {model: ./m.onnx, providers: [cuda]}}"
    assert "endpoints.a.providers asks for a GPU" in told(text)["gpu"].message
    monkeypatch.setattr(cuda, "driver", lambda: (12, 4))
    assert told(text)["gpu"] == Finding(Level.OK, "gpu", "the driver runs CUDA up to 12.4")
    monkeypatch.setenv("FAIRLEAD_CUDA", "13.0")
    assert "need CUDA 13.0" in told(text)["gpu"].message


def test_a_library_that_is_missing_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = plugins.installed
    monkeypatch.setattr(plugins, "installed", lambda *names: "scipy" not in names and real(*names))
    found = told("endpoints: {a: {model: models:/a@champion, rollout: {steps: [50, 100]}}}")["library"]
    assert "pip install 'fairlead[registry,monitor,retrain]'" in found.message
    monkeypatch.setattr(plugins, "installed", lambda *_: False)
    found = told("endpoints: {a: {model: ./m.onnx}}")["library"]
    assert (found.level, "fairlead[events,registry]" in found.message) == (Level.WARN, True)


def test_models_are_told_of_one_by_one_whatever_they_raise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Raises:\n    def __init__(self):\n        raise KeyError('weights')\n"
        "    def predict(self, inputs):\n        return inputs\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    doubler(tmp_path / "m.onnx")
    file = files.read(_spec("endpoints:\n  bad: {model: 'mine:Raises'}\n  good: {model: ./m.onnx}\n"))
    bad, good = (one for check in models.checks(file, specs.home(file.spec, tmp_path / "home")) for one in check.act())
    assert (bad.level, good.level) == (Level.FAIL, Level.OK)
    assert "weights" in bad.message


def test_the_command_says_it_in_one_line_each_and_in_its_exit_code(tmp_path: Path) -> None:
    doubler(tmp_path / "m.onnx")
    spec = _spec(f"server: {{port: {free()}}}\nendpoints:\n  a: {{model: ./m.onnx}}\n")
    command = [sys.executable, "-m", "fairlead", "doctor", str(spec)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    assert (done.returncode, said["healthy"], said["target"]) == (0, True, "s.yaml")
    (tmp_path / "m.onnx").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert any(line.startswith("fail   model") for line in done.stdout.splitlines())
    assert "Traceback" not in done.stderr
