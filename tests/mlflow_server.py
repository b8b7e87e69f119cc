"""A small MLflow tracking server over a real socket: the registry's REST API and the proxy of artefacts.

The shapes are those of MLflow's REST documentation (https://mlflow.org/docs/latest/api_reference/rest-api.html) for
``registered-models/get``, ``model-versions/get``, ``model-versions/get-download-uri``, ``runs/get`` and
``mlflow-artifacts/artifacts``, as MLflow 3.17 answers them.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = "/api/2.0/mlflow/"
ARTEFACTS = "/api/2.0/mlflow-artifacts/artifacts"
GONE = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}


@dataclass
class Served:
    """``files``: by path.  ``cut``: after so many bytes of a file the connection is closed, for the first so many
    answers (``cuts``).  ``stall``: it is left open instead.  ``ranges``: whether it knows them.  ``credential``: what
    ``authorization`` must say; empty: anybody may ask.  ``asked``: path and range of every artefact that was sent."""

    files: dict[str, bytes]
    cut: int = 0
    cuts: int = 0
    stall: bool = False
    ranges: bool = True
    credential: str = ""
    listed: list[dict[str, Any]] | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.served.credential not in ("", self.headers.get("authorization")):
            self.say(401, {"error_code": "UNAUTHENTICATED", "message": "no"})
        elif parts.path == "/health":
            self.say(200, "OK")
        elif parts.path == ARTEFACTS:
            self.say(200, {"files": listing(self.served, query["path"])})
        elif parts.path.startswith(f"{ARTEFACTS}/"):
            self.send(unquote(parts.path.removeprefix(f"{ARTEFACTS}/")))
        else:
            self.say(*answer(parts.path.removeprefix(API), query))

    def send(self, path: str) -> None:
        wanted = self.headers.get("range", "")
        self.served.asked.append((path, wanted))
        if path not in self.served.files:
            self.say(404, GONE)
            return
        data = self.served.files[path]
        begin = start(wanted) if self.served.ranges else 0
        if begin and begin >= len(data):
            self.say(416, "")
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("content-range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("content-length", str(len(data) - begin))
        self.end_headers()
        rest = data[begin:]
        if self.served.cuts and len(rest) > self.served.cut:
            self.breaks(rest)
        else:
            self.wfile.write(rest)

    def breaks(self, rest: bytes) -> None:
        self.served.cuts -= 1
        self.wfile.write(rest[: self.served.cut])
        self.wfile.flush()
        time.sleep(60 if self.served.stall else 0)
        self.close_connection = True

    def say(self, status: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def running(served: Served) -> Iterator[Served]:
    handler = type("Bound", (Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        served.url = f"http://127.0.0.1:{made.server_port}"
        yield served
        made.shutdown()


def start(wanted: str) -> int:
    """Of ``bytes=7-``; 0 where nothing is said."""
    return int(wanted.removeprefix("bytes=").rstrip("-") or 0)


def answer(what: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
    found = known(what, query)
    return (404, GONE) if found is None else (200, found)


def known(what: str, query: dict[str, str]) -> dict[str, Any] | None:
    """Model ``churn`` with version 1, alias ``champion``, whose run is ``abc``; nothing else is there."""
    if query.get("name") == "churn" and what == "registered-models/get":
        aliases = [{"alias": "champion", "version": "1"}]
        return {"registered_model": {"name": "churn", "creation_timestamp": 1, "aliases": aliases}}
    if query.get("name") == "churn" and query.get("version") == "1":
        if what == "model-versions/get":
            version = {"name": "churn", "version": "1", "creation_timestamp": 1, "status": "READY", "run_id": "abc"}
            return {"model_version": {**version, "source": "mlflow-artifacts:/0/abc/artifacts/model"}}
        if what == "model-versions/get-download-uri":
            return {"artifact_uri": "mlflow-artifacts:/0/abc/artifacts/model"}
    if what == "runs/get" and query.get("run_id") == "abc":
        info = {"run_id": "abc", "run_uuid": "abc", "experiment_id": "0", "status": "FINISHED", "start_time": 1}
        more = {"lifecycle_stage": "active", "artifact_uri": "mlflow-artifacts:/0/abc/artifacts"}
        return {"run": {"info": {**info, **more}, "data": {}, "inputs": {}, "outputs": {}}}
    return None


def listing(served: Served, folder: str) -> list[dict[str, Any]]:
    """As the proxy lists: names within the folder, directories without a size."""
    if served.listed is not None:
        return served.listed
    inside = {path.removeprefix(f"{folder}/"): data for path, data in served.files.items()}
    inside = {path: data for path, data in inside.items() if f"{folder}/{path}" in served.files}
    found = [
        {"path": path, "is_dir": False, "file_size": len(data)} for path, data in inside.items() if "/" not in path
    ]
    return found + [{"path": one, "is_dir": True} for one in {path.split("/")[0] for path in inside if "/" in path}]
