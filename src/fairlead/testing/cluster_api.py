"""Serves a ``FakeCluster`` over HTTP on the loopback address, for tests of clients, with a kubeconfig for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fairlead.testing.cluster import FakeCluster, Refusal

TOKEN = "a-token-of-the-test"  # noqa: S105 - of a server that only tests start


class Api(ThreadingHTTPServer):
    """``down``: connections are closed without an answer.  ``token``: the one that is believed.

    ``lost``: the answer of so many coming requests gets lost; they have had their effect.
    """

    daemon_threads = True

    def __init__(self, cluster: FakeCluster) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster, self.token = cluster, TOKEN
        self.down, self.lost = False, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        if self.server.down:
            self.close_connection = True
            return
        if self.headers.get("authorization") != f"Bearer {self.server.token}":
            self._write(401, {"kind": "Status", "code": 401, "message": "Unauthorized"})
            return
        url = urlsplit(self.path)
        try:
            kind = self.headers.get("content-type") or ""
            found = self.server.cluster.request(self.command, url.path, dict(parse_qsl(url.query)), body, kind)
        except Refusal as refusal:
            self._write(refusal.code, refusal.status)
            return
        if self.server.lost:
            self.server.lost -= 1
            self.close_connection = True
            return
        self._write(201 if self.command == "POST" else 200, found)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - names that http.server calls

    def _write(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(cluster: FakeCluster) -> Iterator[Api]:
    with Api(cluster) as api:
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield api
        api.shutdown()
        thread.join()


def kubeconfig(path: Path, server: str, namespace: str = "ml", **user: Any) -> Path:
    """A file that leads to ``server``; ``user``: its credentials, the token of the test where none are given."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": TOKEN}}],
    }
    path.write_text(json.dumps(document))
    return path
