"""Callers that keep the server waiting: slow senders, silent ones, and those that never read."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from running import Running, running
from wire import ECHO, HEALTH, THREAD, Wire, document, post, serve, slow, until

from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.testing.models import EchoModel, Model

READ = 0.4
BODY = document(7)
CHUNKED = post(7, b"transfer-encoding: chunked", size=False, body=b"20\r\n" + BODY[:32] + b"\r\n")


@pytest.fixture(scope="module")
def _brisk() -> Iterator[dict[str, Running]]:
    limits = {"read_timeout": READ, "keep_alive": 60.0}
    with serve("short", **limits) as short, serve("long", **limits) as long:
        yield {"short": short, "long": long}


@pytest.fixture
def brisk(_brisk: dict[str, Running], way: str) -> Running:
    return _brisk[way]


HALVES = {
    "head": post(7)[:30],
    "head up to the blank line": post(7)[: -len(BODY) - 2],
    "body": post(7)[:-10],
    "no body": post(7)[: -len(BODY)],
    "known head": post(7)[:-10],
    "chunk": CHUNKED[:-9],
    "between chunks": CHUNKED,
    "get": HEALTH[:-2],
}


@pytest.mark.parametrize("name", HALVES)
def test_half_a_request_is_told_that_it_is_late(brisk: Running, name: str) -> None:
    with Wire(brisk, post(1) + post(2) if name != "known head" else post(7)) as wire:
        assert wire.answer().status == 200
        if name != "known head":
            assert wire.answer().is_for(2)
        began = time.monotonic()
        wire.send(HALVES[name])
        answer = wire.answer()
        assert (answer.status, answer.json()["code"]) == (408, "request_timeout")
        assert answer.closes
        assert time.monotonic() - began >= READ * 0.9  # clocks of loops tick in milliseconds
        assert wire.end()


def test_a_head_has_a_time_as_a_whole(brisk: Running) -> None:
    """A byte now and then does not buy more of it."""
    with Wire(brisk) as wire:
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 5 * READ:
                wire.send(b"G" if time.monotonic() - began < 0.001 else b"E")
                if not wire.silent(READ / 8):
                    break
        assert wire.answer().status in (400, 408)
    with Wire(brisk, b"GET / HTTP/1.1\r\n") as wire:
        began = time.monotonic()
        while wire.silent(READ / 8):
            assert time.monotonic() - began < 10
            wire.send(b"x: y\r\n")
        assert wire.answer().status == 408


def test_a_body_that_keeps_coming_has_all_the_time(brisk: Running) -> None:
    request = post(7, body=BODY + b" " * 2000)
    with Wire(brisk, request[:-2000]) as wire:
        for at in range(-2000, 0, 100):
            wire.silent(READ / 10)
            wire.send(request[at:][:100])
        assert wire.answer().is_for(7)


def test_a_body_that_only_trickles_is_told_that_it_is_late(brisk: Running) -> None:
    request = post(7)
    with Wire(brisk, request[:-20]) as wire:
        for at in range(-20, 0):
            if not wire.silent(READ / 10):
                break
            with suppress(OSError):
                wire.send(request[at:][:1])
        assert wire.answer().status == 408


def test_a_request_that_waits_its_turn_is_not_late(brisk: Running) -> None:
    """Half a head and half a body behind a slow answer: their time runs from when they are first."""
    model = slow(brisk)
    for name in ("head", "body", "chunk"):
        model.hold()
        whole = {
            "head": post(7),
            "body": post(7),
            "chunk": CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY) - 32, BODY[32:]),
        }
        with Wire(brisk, post(1, path=b"/v2/models/slow/infer") + HALVES[name]) as wire:
            assert model.entered.wait(10)
            assert wire.silent(READ * 1.5)
            model.release.set()
            assert wire.answer().is_for(1)
            wire.send(whole[name][len(HALVES[name]) :])
            assert wire.answer().is_for(7)


def test_a_slow_answer_has_all_the_time(way: str) -> None:
    with serve(way, read_timeout=0.1, keep_alive=0.1, write_timeout=0.1) as server:
        model = slow(server)
        with Wire(server, post(1, path=b"/v2/models/slow/infer")) as wire:
            assert wire.silent(0.4)
            model.release.set()
            assert wire.answer().is_for(1)


@pytest.mark.parametrize("before", [b"", HEALTH, post(1), b"\r\n"])
def test_an_idle_connection_is_closed_without_a_word(way: str, before: bytes) -> None:
    with serve(way, keep_alive=0.3) as server, Wire(server, before) as wire:
        if before.strip():
            assert wire.answer().status == 200
        began = time.monotonic()
        assert wire.end()
        assert 0.1 < time.monotonic() - began < 8


@pytest.mark.parametrize("refused", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a" * 200_000])
def test_who_is_refused_and_stays_is_cut_off(way: str, refused: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.serve.connection.LINGER", 0.2)
    with serve(way) as server, Wire(server) as wire:
        with suppress(ConnectionError):
            wire.send(refused)
        assert wire.answer().status in (400, 431)
        assert wire.end()
        until(lambda: not server.server._web.server_state.connections)


def test_a_caller_who_sends_on_can_read_why_it_is_refused(server: Running) -> None:
    """Closing a socket on unread bytes resets it; the refusal would be lost on the way."""
    for _ in range(10):
        with Wire(server, b"nonsense\r\n\r\n") as wire:
            for _ in range(50):
                wire.send(b"x" * 2000)
            assert wire.answer().status == 400
            assert wire.end()


BIG = Signature((TensorSpec("x", DataType.FP64, (-1, 2)),), (TensorSpec("y", DataType.FP64, (-1, 1_500_000)),))


def big(inputs: Tensors) -> Tensors:
    return {"y": np.zeros((len(inputs["x"]), 1_500_000))}


@contextmanager
def large(way: str, **limits: float) -> Iterator[Running]:
    """big answers with six megabytes."""
    models = {"echo": EchoModel(), "big": Model(big, BIG, THREAD)}
    with running(models, short_way=way == "short", **limits) as server:
        yield server


def unread(server: Running, data: bytes) -> Wire:
    """A caller with little room, who sends and does not read."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.settimeout(10)
    link.connect(("127.0.0.1", server.port))
    wire = Wire.__new__(Wire)
    wire.link, wire._read = link, b""
    wire.send(data)
    return wire


@pytest.mark.parametrize("lines", [(), (b"connection: close",)])
def test_a_caller_who_never_reads_is_cut_off_and_nobody_is_harmed(way: str, lines: tuple[bytes, ...]) -> None:
    with large(way, write_timeout=0.5) as server:
        request = post(7, *lines, path=b"/v2/models/big/infer")
        deaf = [unread(server, request * 3) for _ in range(3)]
        began = time.monotonic()
        links = server.server._web.server_state.connections
        until(lambda: len(links) == 3)
        with Wire(server) as wire:
            while len(links) > 1:
                wire.send(post(8))
                assert wire.answer().is_for(8)
                assert sum(link.transport.get_write_buffer_size() for link in list(links)) < 30_000_000
                assert time.monotonic() - began < 10
                time.sleep(0.01)
        assert time.monotonic() - began > 0.4
        until(lambda: server.pipeline.in_flight == 0)
        for wire in deaf:
            wire.close()


def test_a_caller_who_reads_slowly_gets_everything(way: str) -> None:
    """Taking some bytes in every ``write_timeout`` is enough, however long the whole takes."""
    with large(way, write_timeout=0.5) as server:
        wire = unread(server, HEALTH)
        assert wire.answer().status == 200
        (link,) = server.server._web.server_state.connections
        # Little room on this side too: what the system takes at once is out of the server's sight.
        link.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        wire.send(post(7, path=b"/v2/models/big/infer"))
        began = time.monotonic()
        got = 0
        while time.monotonic() - began < 1.2:
            got += len(wire.link.recv(8192))
            time.sleep(0.01)
        assert got < 3_000_000, "it was to take longer than that"
        while got < 6_000_000 and (piece := wire.link.recv(1 << 20)):
            got += len(piece)
        assert got > 6_000_000
        wire.close()


def test_requests_that_nobody_reads_the_answers_of_are_not_piled_up(way: str) -> None:
    """Endless small requests and no reading: the server stops taking them."""
    with serve(way, write_timeout=30.0) as server:
        wire = unread(server, b"")
        wire.link.setblocking(False)
        sent, stalled = 0, time.monotonic()
        chunk = b"GET /healthz HTTP/1.1\r\n\r\n" * 1000
        while time.monotonic() - stalled < 0.5 and sent < 60_000_000:
            try:
                sent += wire.link.send(chunk[sent % 25 :])
                stalled = time.monotonic()
            except BlockingIOError:
                time.sleep(0.005)
        (link,) = server.server._web.server_state.connections
        assert len(link.pipeline) <= 1000
        assert len(link._held) <= 1_000_000
        wire.close()
        until(lambda: not server.server._web.server_state.connections, 20)


@pytest.mark.parametrize("last", [post(1), HEALTH, post(1)[:-5], b"", ECHO])
def test_a_caller_who_half_closes_has_hung_up(server: Running, last: bytes) -> None:
    """A half-closed connection looks like a closed one, so it ends; what was answered before it is still delivered."""
    with Wire(server, post(7)) as wire:
        assert wire.answer().is_for(7)
        wire.send(last)
        wire.link.shutdown(socket.SHUT_WR)
        while wire._more():
            pass
    until(lambda: server.pipeline.in_flight == 0)
