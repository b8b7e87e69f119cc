"""Every secret of a server that runs is searched for in all that it says, keeps and shows: there is none to be found.

A word that is no secret is planted in the same places, and found: the search is able to fail.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import jwt
import psycopg
import pyarrow.parquet as pq
import pytest

from authority import Authority
from fairlead.kit.codec import protos
from services import POSTGRES, fresh_schema

BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
ISSUER = "https://login.example.com"
TOLD = json.dumps(
    {
        "name": "m",
        "versions": ["1"],
        "platform": "echo",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    }
).encode()


class Echoing(BaseHTTPRequestHandler):
    """Another server, which asks for a token and repeats it when it fails."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, TOLD if "models" in self.path else b'{"name": "echo"}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(500, json.dumps({"error": f"no: {self.headers['authorization']}"}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.server.shown.append(self.headers["authorization"])  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def echoing() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echoing)
    server.daemon_threads, server.shown = True, []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def forms(secret: str) -> set[str]:
    """How it might stand somewhere."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], encoded}


def found(places: dict[str, str], secret: str) -> list[str]:
    return [name for name, text in places.items() if any(form in text for form in forms(secret))]


def children(pid: int) -> list[int]:
    own = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*own, *(deeper for one in own for deeper in children(one))]


def processes(pid: int) -> Iterator[tuple[str, str]]:
    for one in (pid, *children(pid)):
        for what in ("cmdline", "environ"):
            yield f"{what} {one}", Path(f"/proc/{one}/{what}").read_bytes().decode("utf-8", "replace")


def rows(url: str) -> Iterator[tuple[str, str]]:
    """Every table of the state store, as text."""
    schema = url.rpartition("%3D")[2]
    with psycopg.connect(POSTGRES) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall()
        for (table,) in tables:
            kept = connection.execute(f'SELECT * FROM {schema}."{table}"').fetchall()  # type: ignore[arg-type]
            yield f"table {table}", repr(kept)


def files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "local.key":  # which is where that key is kept
            yield f"file {path.name}", path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            yield f"events {path.name}", repr(pq.read_table(path).to_pylist())


def calls(url: str, address: str, ca: Path, shown: list[str], canary: str) -> Iterator[tuple[str, str]]:
    """Answers to all sorts of requests, whole. ``shown``: credentials that hold."""
    verify = ssl.create_default_context(cafile=str(ca))
    with httpx.Client(base_url=url, verify=verify, timeout=10) as client:
        paths = ["/v2/models/echo/infer", "/v2/models/far/infer", "/v2/models/none/infer", "/v1/models/echo:predict"]
        for number, token in enumerate([*shown, *(token[:-6] + "AAAAAA" for token in shown), "x"]):
            for way in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}, {"authorization": token}):
                headers = {**way, "fairlead-key": f"order-{canary}", "x-request-id": f"id-{canary}"}
                for path in paths:
                    reply = client.post(path, json=BODY, headers=headers)
                    yield f"answer {number} {path} {reply.status_code}", f"{reply.headers}{reply.text}"
                reply = client.post(paths[0], content=b"{", headers=headers)
                yield f"answer {number} broken", f"{reply.headers}{reply.text}"
                for path in ("/metrics", "/readyz", "/healthz", "/docs", "/openapi.json", "/v2", "/v1/models", "/x"):
                    reply = client.get(path, headers=headers)
                    yield f"answer {number} {path} {reply.status_code}", f"{reply.headers}{reply.text}"
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(ca.read_bytes())) as channel:
        infer = channel.unary_unary(f"/{protos.SERVICES[protos.OIP]}/ModelInfer")
        for number, token in enumerate((*shown, shown[0][:-6] + "AAAAAA")):
            for endpoint in ("echo", "far", canary):
                request = protos.InferRequest(model_name=endpoint)
                request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1.0, 2.0])
                try:
                    infer(request.SerializeToString(), metadata=(("authorization", f"Bearer {token}"),), timeout=10)
                except grpc.RpcError as error:
                    yield f"grpc {number} {endpoint}", str(error)


def spec(folder: Path, doubler: Path, upstream: int, server: Path, schema: str) -> None:
    state = schema.replace("postgres@", "postgres:${env:STATE_PASSWORD}@")
    (folder / "fairlead.yaml").write_text(
        f"""
project: leak
state: {state}
tracking: "http://bob:${{file:{folder}/tracking}}@127.0.0.1:9"
server: {{port: 0, grpc_port: 0, workers: 2, tls: {{cert: {server}}}}}
access:
  required: true
  jwt:
    issuer: {ISSUER}
    audience: fairlead
    algorithms: [HS256]
    secret: file:{folder}/shared
endpoints:
  echo:
    model: {doubler}
    record: {{salt: "${{file:{folder}/salt}}", hash: [x], window_seconds: 1}}
  far:
    upstream: {{urls: ["http://127.0.0.1:{upstream}"], model: m, token: "file:{folder}/upstream"}}
"""
    )


@pytest.mark.slow
def test_no_secret_is_found_anywhere(
    start: Any, run: Any, doubler: Path, tmp_path: Path, echoing: ThreadingHTTPServer
) -> None:
    canary = f"canary{secrets.token_hex(6)}"
    kept = {name: secrets.token_urlsafe(48) for name in ("shared", "upstream", "salt", "tracking", "state")}
    for name in ("shared", "upstream", "salt", "tracking"):
        (tmp_path / name).write_text(kept[name] + "\n")
    authority = Authority(tmp_path)
    server = authority.issue("server")
    kept["TLS key"] = server.read_text().split("PRIVATE KEY-----\n")[1].splitlines()[1]
    places: dict[str, str] = {}
    given = {"STATE_PASSWORD": kept["state"], "A_CANARY": canary}

    def command(*words: str) -> str:
        told = run(*words, **given)
        places[f"command {' '.join(words)}"] = told.stdout + told.stderr
        return str(told.stdout)

    with fresh_schema() as schema:
        spec(tmp_path, doubler, echoing.server_address[1], server, schema)
        created = run("keys", "create", "--name", canary, "--scope", "*:*", "--json", **given)
        assert created.returncode == 0, created.stderr
        kept["key"] = json.loads(created.stdout)["key"]
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "fairlead", "sub": canary, "exp": now + 900, "scope": "*:*"}
        kept["token"] = jwt.encode(claims, kept["shared"], "HS256")
        (tmp_path / f"{canary}.yaml").symlink_to("fairlead.yaml")
        process = start("up", f"{canary}.yaml", **given)
        url = process.url(90)
        kept["local"] = (tmp_path / "home" / "local.key").read_text().strip()
        address = next(str(event["address"]) for event in process.events if event["event"] == "grpc")
        shown = [kept["key"], kept["token"]]
        places |= dict(calls(url, address, authority.ca, shown, canary))
        places |= dict(processes(process.popen.pid))
        for words in (("status",), ("status", "--json"), ("keys", "list"), ("keys", "list", "--json"), ("init",)):
            command(*words)
        for words in (("models", "list"), ("models", "list", "--debug"), ("up", "--check"), ("up",), ("timeline",)):
            command(*words)
        command("keys", "rotate", canary, "--overlap", "1h")
        places.pop(f"command keys rotate {canary} --overlap 1h")  # which shows the new one, once
        command("keys", "revoke", canary)
        time.sleep(2.5)  # windows are written
        worker = next(pid for pid in children(process.popen.pid) if b"--worker-of" in _words(pid))
        os.kill(worker, signal.SIGKILL)
        places |= {f"again {name}": text for name, text in calls(url, address, authority.ca, shown[1:], canary)}
        places |= dict(rows(schema))
        assert process.stop() == 0
        places["log"] = "\n".join(process.lines)
        places |= dict(files(tmp_path / "home"))
    assert set(echoing.shown) == {f"Bearer {kept['upstream']}"}  # type: ignore[attr-defined]
    assert any("no: Bearer ***" in text for text in places.values())
    assert [name for name in places if re.match(r"answer \d /v2/models/echo/infer 200", name)]
    kinds = {name.split()[0] for name in found(places, canary)}
    assert kinds == {name.split()[0] for name in places}
    assert kinds == {"answer", "grpc", "again", "cmdline", "environ", "command", "table", "events", "file", "log"}
    own = {"state": "environ"}  # it was given so
    leaks = {name: [one for one in found(places, _part(secret)) if not one.startswith(own.get(name, "-"))]
             for name, secret in kept.items()}  # fmt: skip
    assert not any(leaks.values()), {name: where[:5] for name, where in leaks.items() if where}


def _words(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _part(secret: str) -> str:
    """The part that nobody may know: of a key what is behind its public name, of a token its signature."""
    if secret.startswith("fl_"):
        return secret.rpartition("_")[2]
    return secret.rpartition(".")[2] if secret.count(".") == 2 else secret
