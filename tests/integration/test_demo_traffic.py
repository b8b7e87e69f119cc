"""The traffic of the demo over real connections."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fairlead.demo.traffic import Plan, call


@pytest.fixture
def echo() -> Iterator[str]:
    """Predicts the word that it was sent."""

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            reply = json.dumps({"predictions": json.loads(sent)["instances"]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_words_of_every_alphabet_arrive(echo: str) -> None:
    body = json.dumps({"instances": ["Stra\u00dfe \u2603"]}, ensure_ascii=False)
    seen = call(Plan(echo, "/", [body], ["Stra\u00dfe \u2603"], 0.2))
    assert seen.calls > 0
    assert (seen.wrong, seen.errors, seen.problem) == (0, 0, "")


def test_callers_give_up_when_the_server_is_gone() -> None:
    began = time.monotonic()
    seen = call(Plan("http://127.0.0.1:1", "/", ["{}"], ["x"], 60))
    assert time.monotonic() - began < 10
    assert seen.calls == 0
    assert "0 were answered; the first failure: ConnectionRefusedError" in seen.problem
