"""A caller that speaks bytes: requests by hand, answers read one by one, nothing forgiven."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

from running import Running, running

from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import Tensors
from fairlead.testing.models import EchoModel, Model, SlowModel

ECHO = b"/v2/models/echo/infer"
LIMIT = 256 * 1024
"""Largest body, bytes, of the servers here."""
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
THREAD = Traits(releases_gil=True, platform="fairlead_fake")


def late(inputs: Tensors) -> Tensors:
    time.sleep(0.02)
    return {"y": inputs["x"].copy()}


def serve(way: str, **more: Any) -> AbstractContextManager[Running]:
    """echo answers at once, late after 20 ms, slow when the test lets it."""
    models = {"echo": EchoModel(), "late": Model(late, traits=THREAD), "slow": SlowModel()}
    return running(models, short_way=way == "short", **{"max_body": LIMIT, **more})


def document(value: float, name: str | None = None) -> bytes:
    """A body whose answer is its own: ``value`` comes back, and ``name`` as the id."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [value, -value]}
    return json.dumps({"id": name or f"n{value:g}", "inputs": [tensor]}).encode()


def post(
    value: float,
    *lines: bytes,
    path: bytes = ECHO,
    version: bytes = b"1.1",
    body: bytes | None = None,
    size: bool = True,
) -> bytes:
    """An inference request. ``lines``: more header lines.  ``size`` False: without a content-length."""
    body = document(value) if body is None else body
    head = [b"POST %b HTTP/%b" % (path, version), b"host: x", *lines]
    if size:
        head.append(b"content-length: %d" % len(body))
    return b"\r\n".join((*head, b"", body))


def chunked(body: bytes, size: int = 16, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(one), extension, one) for one in pieces) + b"0\r\n%b\r\n" % trailer


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"

    def json(self) -> Any:
        return json.loads(self.body)

    def is_for(self, value: float) -> bool:
        """Whether this answers ``document(value)``."""
        if self.status != 200:
            return False
        found = self.json()
        return bool(found["id"] == f"n{value:g}" and found["outputs"][0]["data"] == [value, -value])


class Wire:
    """One connection. Leaving the block closes it."""

    def __init__(self, server: Running, data: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        link = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link = tls.wrap_socket(link, server_hostname="localhost") if tls else link
        self._read = b""
        self.send(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        if data:
            self.link.sendall(data)

    def close(self) -> None:
        self.link.close()

    def reset(self) -> None:
        """Close with RST, as a caller that crashed."""
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.link.close()

    def answer(self, method: str = "POST") -> Answer:
        """The next answer, whole; an informational one counts too."""
        first, *lines = self._until(b"\r\n\r\n").split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), first
        status = int(first[9:12])
        pairs = [line.decode("latin-1").split(": ", 1) for line in lines if line]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), f"a header twice: {lines}"
        head = b"\r\n".join((first, *lines))
        if status < 200 or method == "HEAD":
            return Answer(status, head, headers, b"")
        assert "transfer-encoding" not in headers
        return Answer(status, head, headers, self._exactly(int(headers["content-length"])))

    def end(self) -> bool:
        """Whether the server has closed, with nothing more to say."""
        return not self._read and not self._more()

    def silent(self, seconds: float = 0.05) -> bool:
        """Whether nothing comes within this time."""
        self.link.settimeout(seconds)
        try:
            return not self._read and not self.link.recv(1, socket.MSG_PEEK) and False
        except TimeoutError:
            return True
        finally:
            self.link.settimeout(10)

    def _more(self) -> bool:
        piece = self.link.recv(65536)
        self._read += piece
        return bool(piece)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._read:
            assert self._more(), f"the connection ended after {self._read!r}"
        found, _, self._read = self._read.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            assert self._more(), f"the connection ended after {self._read!r}"
        found, self._read = self._read[:size], self._read[size:]
        return found


def ask(server: Running, data: bytes, method: str = "POST") -> Answer:
    """One request on a connection of its own."""
    with Wire(server, data) as wire:
        return wire.answer(method)


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that in time"
        time.sleep(0.002)


def slow(server: Running) -> SlowModel:
    """The model behind the endpoint ``slow``."""
    model = server.pipeline.catalog.resolve("slow", None).model
    assert isinstance(model, SlowModel)
    return model


def splits(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for at in range(1, len(data)):
        yield data[:at], data[at:]
