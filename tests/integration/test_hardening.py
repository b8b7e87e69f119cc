"""What one caller can take from the others: connections, time, memory. Real sockets, short limits."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import numpy as np
import pytest
from running import running

from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.serve.grpc import frames
from fairlead.serve.reading import MOST_HEADERS
from fairlead.testing.models import EchoModel, Model

INFER = "/v2/models/echo/infer"
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}).encode()
BEGINNING = frames.PREFACE + frames.settings()


def head(length: int, *more: bytes) -> bytes:
    lines = (b"POST %b HTTP/1.1" % INFER.encode(), b"host: x", b"content-length: %d" % length, *more, b"", b"")
    return b"\r\n".join(lines)


@contextmanager
def connected(port: int, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=15, source_address=(source, 0)) as link:
        yield link


def everything(link: socket.socket) -> bytes:
    """All that comes until the server closes."""
    got = b""
    with suppress(ConnectionError):
        while piece := link.recv(65536):
            got += piece
    return got


def answers(link: socket.socket) -> bool:
    link.sendall(head(len(BODY)) + BODY)
    return link.recv(65536).startswith(b"HTTP/1.1 200")


def until_admitted(port: int, source: str = "127.0.0.1") -> None:
    """The server hears of a closed connection a moment later."""
    ends = time.monotonic() + 5
    while True:
        with connected(port, source) as link, suppress(ConnectionError):
            if answers(link):
                return
        assert time.monotonic() < ends
        time.sleep(0.05)


# Connections.


def test_one_too_many_is_told_and_closed_and_the_others_answer() -> None:
    with running({"echo": EchoModel()}, max_connections=3) as server, ExitStack() as stack:
        held = [stack.enter_context(connected(server.port)) for _ in range(3)]
        assert all(answers(link) for link in held)
        for _ in range(5):
            with connected(server.port) as extra:
                got = everything(extra)
                assert got.startswith(b"HTTP/1.1 503 ")
                assert b"max_connections" in got
        assert all(answers(link) for link in held)
        held[0].close()
        until_admitted(server.port)
        with httpx.Client(base_url=server.url) as client:
            text = client.get("/metrics").text
        assert 'fairlead_edge_errors_total{code="too_many_connections",route=""}' in text


def test_an_address_has_a_limit_of_its_own() -> None:
    with running({"echo": EchoModel()}, max_connections_per_address=2) as server, ExitStack() as stack:
        held = [stack.enter_context(connected(server.port)) for _ in range(2)]
        assert all(answers(link) for link in held)
        with connected(server.port) as extra:
            assert b"max_connections_per_address" in everything(extra)
        with connected(server.port, "127.0.0.2") as other:
            assert answers(other)
        held[0].close()
        until_admitted(server.port)


def test_who_is_refused_and_stays_is_cut_off_and_counts_for_nobody() -> None:
    with running({"echo": EchoModel()}, max_connections=1) as server, connected(server.port) as held:
        assert answers(held)
        with ExitStack() as stack:
            refused = [stack.enter_context(connected(server.port)) for _ in range(200)]
            time.sleep(0.3)
            for link in refused:
                with suppress(ConnectionError):
                    link.sendall(b"GET / HTTP/1.1\r\n\r\n")
            ends = time.monotonic() + 10
            for link in refused:
                link.settimeout(max(0.1, ends - time.monotonic()))
                everything(link)
        assert answers(held)
        held.close()
        until_admitted(server.port)


def test_grpc_connections_are_counted_too() -> None:
    with running({"echo": EchoModel()}, grpc_port=0, max_connections=2) as server, ExitStack() as stack:
        port = int(server.channel.rpartition(":")[2])
        held = [stack.enter_context(connected(port)) for _ in range(2)]
        for link in held:
            link.sendall(BEGINNING)
            assert link.recv(65536)
        with connected(port) as extra:
            extra.sendall(BEGINNING)
            got = everything(extra)
            assert b"max_connections" in got
            assert frames.CALM.to_bytes(4, "big") in got
        held[0].close()
        time.sleep(0.2)
        with connected(port) as again:
            again.sendall(BEGINNING + frames.frame(frames.PING, 0, 0, b"12345678"))
            time.sleep(0.2)
            assert b"12345678" in again.recv(65536)


# Time.


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("short_way", [True, False])
def test_a_body_that_trickles_is_cut_off_and_one_that_comes_on_is_not(short_way: bool, known: bool) -> None:
    filled = BODY + b" " * 4000
    with (
        running({"echo": EchoModel()}, read_timeout=0.5, short_way=short_way) as server,
        connected(server.port) as link,
    ):
        if known:
            link.sendall(head(len(filled)) + filled)
            assert link.recv(65536).startswith(b"HTTP/1.1 200")
        link.sendall(head(len(filled)))
        for at in range(0, len(filled), 200):  # 2,000 bytes a second: slow, and welcome
            link.sendall(filled[at : at + 200])
            time.sleep(0.1)
        assert link.recv(65536).startswith(b"HTTP/1.1 200")
        link.sendall(head(len(filled)))
        began = time.monotonic()
        with suppress(ConnectionError):
            for at in range(len(filled)):
                link.sendall(filled[at : at + 1])
                time.sleep(0.1)
                if time.monotonic() - began > 8:
                    break
        assert time.monotonic() - began < 7
        assert b" 408 " in everything(link)


BIG = Signature((TensorSpec("n", DataType.INT64, (-1, 1)),), (TensorSpec("y", DataType.FP64, (-1, -1)),))


class Verbose(Model):
    def __init__(self) -> None:
        super().__init__(self._many, BIG)

    @staticmethod
    def _many(inputs: Tensors) -> Tensors:
        return {"y": np.ones((len(inputs["n"]), int(inputs["n"].max())))}


def test_an_answer_that_is_taken_byte_by_byte_is_given_up() -> None:
    asked = json.dumps({"inputs": [{"name": "n", "shape": [1, 1], "datatype": "INT64", "data": [3_000_000]}]}).encode()
    with running({"echo": Verbose()}, write_timeout=0.5) as server, socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(15)
        link.connect(("127.0.0.1", server.port))
        link.sendall(head(len(asked)) + asked)
        link.recv(1)
        began = time.monotonic()
        while server.server._web.server_state.connections:  # what the system holds for the caller may last longer
            link.recv(1)
            time.sleep(0.02)
            assert time.monotonic() - began < 20, "still there"


def test_a_frame_that_trickles_ends_its_connection() -> None:
    with (
        running({"echo": EchoModel()}, grpc_port=0, read_timeout=0.5) as server,
        connected(int(server.channel.rpartition(":")[2])) as link,
    ):
        link.sendall(BEGINNING)
        block = frames.frame(frames.HEADERS, 0, 1, b"\x82") + frames.frame(frames.CONTINUATION, 0, 1, b"\x86" * 400)
        began = time.monotonic()
        with suppress(ConnectionError):
            for at in range(len(block)):
                link.sendall(block[at : at + 1])
                time.sleep(0.05)
                assert time.monotonic() - began < 10
        assert time.monotonic() - began < 8


# Memory.


@pytest.mark.parametrize("short_way", [True, False])
def test_heads_of_many_small_fields(short_way: bool) -> None:
    with running({"echo": EchoModel()}, short_way=short_way) as server:
        for count, status in ((MOST_HEADERS - 2, b" 200 "), (MOST_HEADERS + 1, b" 431 ")):
            with connected(server.port) as link:
                link.sendall(head(len(BODY), *(b"a%d: b" % number for number in range(count))) + BODY)
                assert status in link.recv(65536)


def test_a_bomb_and_what_hides_behind_the_end_of_a_body() -> None:
    with running({"echo": EchoModel()}, max_body=64 * 2**20) as server, httpx.Client(base_url=server.url) as client:
        packed = {"content-encoding": "gzip"}
        bomb = client.post(INFER, content=gzip.compress(bytes(60 * 2**20)), headers=packed)
        assert (bomb.status_code, bomb.json()["code"]) == (413, "body_too_large")

        def hidden() -> Iterator[bytes]:
            yield gzip.compress(BODY)
            for _ in range(4096):
                yield bytes(16 * 1024)

        junk = client.post(INFER, content=hidden(), headers=packed)
        assert (junk.status_code, junk.json()["code"]) == (400, "malformed_body")
        assert client.post(INFER, content=gzip.compress(BODY), headers=packed).status_code == 200
