"""The HTTP/2 side, driven by another implementation of it, and by bytes that break its rules."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hpack import Encoder

from fairlead.serve.grpc import frames, status
from fairlead.serve.grpc import incoming as module
from fairlead.serve.grpc.connection import Connection
from fairlead.serve.grpc.frames import frame
from fairlead.serve.grpc.stream import Limits, Rpc, Stream

LIMITS = Limits(max_body=300_000, read_timeout=5.0, write_timeout=7.0, idle=60.0)
FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", "/s/m"), (":authority", "a"), ("te", "trailers")]


class Transport:
    def __init__(self) -> None:
        self.out = bytearray()
        self.closed = self.aborted = self.paused = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "a transport raises here"
        self.out += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Echo(Rpc):
    """Answers the messages, joined, when there are no more; or never."""

    def __init__(self, stream: Stream, wait: bool) -> None:
        self.stream, self.wait = stream, wait
        self.got: list[bytes] = []
        self.gone = 0

    def message(self, data: bytes) -> None:
        self.got.append(data)

    def closed(self) -> None:
        if not self.wait:
            self.stream.answer(b"".join(self.got))

    def cancelled(self) -> None:
        self.gone += 1


class Wire:
    """A connection, and a client of another make at its other end."""

    def __init__(self, *, wait: bool = False, window: int | None = None) -> None:
        self.rpcs: list[Echo] = []
        self.wait = wait
        self.known: set[Connection] = set()
        self.server = Connection(self.start, LIMITS, self.known)
        self.transport = Transport()
        self.server.connection_made(self.transport)  # type: ignore[arg-type]
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        if window is not None:
            self.client.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self.client.initiate_connection()
        self.data: dict[int, bytearray] = {}
        self.trailers: dict[int, dict[str, str]] = {}
        self.events: list[Any] = []

    def start(self, stream: Stream, headers: Any) -> Rpc:
        assert headers[b":path"] == b"/s/m"
        self.rpcs.append(Echo(stream, self.wait))
        return self.rpcs[-1]

    async def turn(self, acknowledge: bool = True) -> list[Any]:
        """Bytes both ways until nothing moves; what the client saw."""
        seen: list[Any] = []
        for _ in range(1000):
            sent = self.client.data_to_send()
            if sent:
                self.server.data_received(sent)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            came, self.transport.out = bytes(self.transport.out), bytearray()
            if not came and not sent:
                break
            for event in self.client.receive_data(came) if came else ():
                seen.append(event)
                self.saw(event, acknowledge)
        self.events += seen
        return seen

    def saw(self, event: Any, acknowledge: bool) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.data.setdefault(event.stream_id, bytearray()).extend(event.data)
            if acknowledge:
                self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived):
            self.trailers.setdefault(event.stream_id, {}).update(dict(event.headers))

    def open(self, *more: tuple[str, str], end: bool = False) -> int:
        number = self.client.get_next_available_stream_id()
        self.client.send_headers(number, [*FIELDS, *more], end_stream=end)
        return number

    async def ask(self, message: bytes, *more: tuple[str, str], flag: int = 0) -> int:
        number = self.open(*more)
        await self.send(number, bytes([flag]) + len(message).to_bytes(4, "big") + message)
        return number

    async def send(self, number: int, body: bytes, end: bool = True) -> None:
        while body:
            room = min(self.client.local_flow_control_window(number), self.client.max_outbound_frame_size)
            if not room:
                await self.turn()
                continue
            piece, body = body[:room], body[room:]
            self.client.send_data(number, piece, end_stream=end and not body)
        await self.turn()

    def answer(self, number: int) -> bytes:
        assert self.trailers[number]["grpc-status"] == "0", self.trailers[number]
        data = bytes(self.data[number])
        assert int.from_bytes(data[1:5], "big") == len(data) - 5
        return data[5:]


def run(work: Callable[[], Any]) -> None:
    asyncio.run(work())


@pytest.mark.parametrize("size", [0, 1, 20_000, 70_000, 299_999])
@pytest.mark.parametrize("window", [None, 0, 1, 999])
def test_a_message_comes_back_whatever_the_windows(size: int, window: int | None) -> None:
    if window in (0, 1) and size > 30:
        size = 30

    async def work() -> None:
        wire = Wire(window=window)
        message = bytes(range(256)) * (size // 256 + 1)
        number = await wire.ask(message[:size])
        if window == 0:
            assert not wire.data.get(number)
            wire.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
            await wire.turn()
        assert wire.answer(number) == message[:size]
        assert wire.server.credit.buffered == 0
        again = await wire.ask(b"more")
        assert wire.answer(again) == b"more"

    run(work)


def test_many_streams_share_a_connection_that_takes_little() -> None:
    async def work() -> None:
        wire = Wire()
        numbers = [wire.open() for _ in range(8)]
        for number in numbers:
            await wire.send(number, b"\0" + (20_000).to_bytes(4, "big") + bytes([number]) * 20_000)
        await wire.turn()
        assert all(wire.answer(number) == bytes([number]) * 20_000 for number in numbers)

    run(work)


def test_answers_wait_until_the_client_takes_them() -> None:
    async def work() -> None:
        wire = Wire()
        number = wire.open()
        await wire.turn(acknowledge=False)
        wire.client.send_data(number, b"\0" + (60_000).to_bytes(4, "big") + b"a" * 16_000)
        for _ in range(2):
            wire.client.send_data(number, b"a" * 16_000)
        wire.client.send_data(number, b"a" * 12_000, end_stream=True)
        other = wire.open()
        wire.client.send_data(other, b"\0\0\0\0\x01x" + b"", end_stream=False)
        wire.client.end_stream(other)
        await wire.turn(acknowledge=False)
        second = wire.open()
        wire.client.send_data(second, b"\0" + (15_000).to_bytes(4, "big") + b"b" * 15_000, end_stream=True)
        await wire.turn(acknowledge=False)
        assert "grpc-status" not in wire.trailers[second]
        wire.client.increment_flow_control_window(100_000)
        await wire.turn(acknowledge=False)
        assert wire.answer(second) == b"b" * 15_000

    run(work)


def test_pieces_of_any_size_are_the_same_bytes() -> None:
    async def work() -> None:
        wire = Wire()
        number = wire.open()
        wire.client.send_data(number, b"\0\0\0\0\x05hel")
        wire.client.send_data(number, b"lo\0\0\0\0\x01", pad_length=40)
        wire.client.send_data(number, b"!", end_stream=True)
        for byte in wire.client.data_to_send():
            wire.server.data_received(bytes([byte]))
        await wire.turn()
        assert wire.rpcs[0].got == [b"hello", b"!"]
        assert wire.answer(number) == b"hello!"

    run(work)


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_compressed_messages(name: str) -> None:
    async def work() -> None:
        wire = Wire()
        plain = b"same " * 9000
        squeezed = gzip.compress(plain) if name == "gzip" else zlib.compress(plain)
        assert wire.answer(await wire.ask(squeezed, ("grpc-encoding", name), flag=1)) == plain
        bomb = gzip.compress(b"0" * 400_000) if name == "gzip" else zlib.compress(b"0" * 400_000)
        for data, encoding, code in (
            (bomb, name, status.EXHAUSTED),
            (b"nonsense", name, status.INVALID),
            (squeezed, "zstd", status.UNIMPLEMENTED),
        ):
            number = await wire.ask(data, ("grpc-encoding", encoding), flag=1)
            assert wire.trailers[number]["grpc-status"] == str(code)

    run(work)


def test_a_message_over_the_limit_and_one_that_is_cut_short() -> None:
    async def work() -> None:
        wire = Wire()
        number = wire.open()
        await wire.send(number, b"\0" + (300_001).to_bytes(4, "big") + b"a", end=False)
        assert wire.trailers[number]["grpc-status"] == str(status.EXHAUSTED)
        assert "300001 bytes" in wire.trailers[number]["grpc-message"]
        assert any(isinstance(one, h2.events.StreamReset) for one in wire.events)
        number = wire.open()
        await wire.send(number, b"\0\0\0\0\x09half")
        assert "ended within a message" in wire.trailers[number]["grpc-message"]
        assert wire.server.credit.buffered == 0

    run(work)


def test_a_stream_that_is_reset_or_a_connection_that_is_lost_cancels() -> None:
    async def work() -> None:
        wire = Wire(wait=True)
        first, second = wire.open(), wire.open()
        for number in (first, second):
            await wire.send(number, b"\0\0\0\0\x01a")
        wire.client.reset_stream(first)
        await wire.turn()
        assert [rpc.gone for rpc in wire.rpcs] == [1, 0]
        wire.rpcs[0].stream.answer(b"too late")
        wire.server.connection_lost(None)
        assert [rpc.gone for rpc in wire.rpcs] == [1, 1]
        assert not wire.known
        wire.rpcs[1].stream.answer(b"later still")
        await asyncio.sleep(0)

    run(work)


def test_going_away_answers_what_is_open_and_takes_nothing_new() -> None:
    async def work() -> None:
        wire = Wire(wait=True)
        number = wire.open()
        await wire.send(number, b"\0\0\0\0\x01a")
        late = wire.open()
        wire.server.go_away()
        wire.server.data_received(wire.client.data_to_send())
        assert len(wire.rpcs) == 1
        wire.rpcs[0].stream.answer(b"still")
        await asyncio.sleep(0)
        assert split(bytes(wire.transport.out)) == [
            (frames.GOAWAY, 0),
            (frames.RST_STREAM, late),
            (frames.HEADERS, number),
            (frames.DATA, number),
            (frames.HEADERS, number),
        ]
        assert wire.transport.closed

    run(work)


def split(data: bytes) -> list[tuple[int, int]]:
    """Kind and stream of each frame."""
    found = []
    while data:
        found.append((data[3], int.from_bytes(data[5:9], "big")))
        data = data[9 + int.from_bytes(data[:3], "big") :]
    return found


def raw(*pieces: bytes, greet: bool = True) -> bytes:
    return (frames.PREFACE + frames.settings() if greet else b"") + b"".join(pieces)


BLOCK = Encoder().encode(FIELDS)
OPEN = frame(frames.HEADERS, frames.END_HEADERS, 1, BLOCK)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (raw(b"GET / HTTP/1.1\r\n\r\n", greet=False), frames.PROTOCOL_ERROR),
        (raw(frame(frames.DATA, 0, 1, b"x")), frames.PROTOCOL_ERROR),
        (raw(frame(frames.DATA, 0, 0, b"x")), frames.PROTOCOL_ERROR),
        (raw(frame(frames.HEADERS, frames.END_HEADERS, 2, BLOCK)), frames.PROTOCOL_ERROR),
        (raw(frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff")), frames.COMPRESSION_ERROR),
        (raw(frame(frames.HEADERS, 0, 1, BLOCK), OPEN), frames.PROTOCOL_ERROR),
        (raw(frame(frames.HEADERS, 0, 1, BLOCK), frame(frames.CONTINUATION, 4, 3, b"")), frames.PROTOCOL_ERROR),
        (raw(frame(frames.CONTINUATION, 4, 1, BLOCK)), frames.PROTOCOL_ERROR),
        (raw(frame(frames.HEADERS, 0, 1), *[frame(frames.CONTINUATION, 0, 1, b"a" * 9000)] * 8), frames.CALM),
        (raw(frame(frames.HEADERS, frames.PADDED, 1, b"\x09ab")), frames.PROTOCOL_ERROR),
        (raw(frame(frames.HEADERS, frames.PRIORITISED | 4, 1, b"ab")), frames.FRAME_SIZE_ERROR),
        (raw(frame(frames.PING, 0, 0, b"short")), frames.FRAME_SIZE_ERROR),
        (raw(frame(frames.SETTINGS, 0, 0, b"12345")), frames.FRAME_SIZE_ERROR),
        (raw(frames.settings((frames.INITIAL_WINDOW, 2**31))), frames.FLOW_CONTROL_ERROR),
        (raw(frames.settings((frames.MAX_FRAME, 100))), frames.PROTOCOL_ERROR),
        (raw(frame(frames.WINDOW_UPDATE, 0, 0, b"abc")), frames.FRAME_SIZE_ERROR),
        (raw(frames.window_update(0, 0)), frames.PROTOCOL_ERROR),
        (raw(frames.window_update(0, 2**31 - 1)), frames.FLOW_CONTROL_ERROR),
        (raw(frames.reset(7, 0)), frames.PROTOCOL_ERROR),
        (raw(frame(frames.PUSH_PROMISE, 0, 1, b"abcd")), frames.PROTOCOL_ERROR),
        (raw(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"), frames.FRAME_SIZE_ERROR),
        (raw(frame(frames.HEADERS, frames.END_HEADERS, 0, BLOCK)), frames.PROTOCOL_ERROR),
        (raw(frame(frames.RST_STREAM, 0, 0, b"abcd")), frames.PROTOCOL_ERROR),
        (raw(frame(frames.SETTINGS, 0, 1)), frames.PROTOCOL_ERROR),
        (raw(frame(frames.PING, 0, 1, b"12345678")), frames.PROTOCOL_ERROR),
        (raw(OPEN, frame(frames.RST_STREAM, 0, 1, b"abc")), frames.FRAME_SIZE_ERROR),
        (raw(frame(frames.SETTINGS, frames.ACK, 0, b"123456")), frames.FRAME_SIZE_ERROR),
        (raw(frames.window_update(99, 5)), frames.PROTOCOL_ERROR),
        (frames.PREFACE + OPEN, frames.PROTOCOL_ERROR),
        (
            raw(OPEN, frames.window_update(1, 2**31 - 1 - 65_535), frames.settings((frames.INITIAL_WINDOW, 65_536))),
            frames.FLOW_CONTROL_ERROR,
        ),
        (raw(*[frame(frames.PING, 0, 0, b"12345678")] * 2100), frames.CALM),
        (raw(*[frames.settings()] * 2100), frames.CALM),
        (raw(OPEN, *[frame(frames.DATA, 0, 1)] * 2100), frames.CALM),
    ],
)
def test_who_breaks_the_rules_is_told_and_let_go(data: bytes, code: int) -> None:
    async def work() -> None:
        wire = Wire()
        wire.server.data_received(data)
        await asyncio.sleep(0)
        sent = bytes(wire.transport.out)
        at = sent.rindex(b"\x07\x00\x00\x00\x00\x00")
        assert int.from_bytes(sent[at + 10 : at + 14], "big") == code
        assert wire.transport.closed

    run(work)


@pytest.mark.parametrize(
    "block",
    [b"", Encoder().encode(FIELDS[1:]), b"\x00\x01A\x01b" + BLOCK],
    ids=["empty", "no method", "upper case"],
)
def test_a_malformed_request_is_reset_and_the_connection_goes_on(block: bytes) -> None:
    async def work() -> None:
        wire = Wire()
        wire.server.data_received(
            raw(frame(frames.HEADERS, frames.END_HEADERS, 1, block), frame(frames.HEADERS, 4, 3, BLOCK))
        )
        await asyncio.sleep(0)
        assert (frames.RST_STREAM, 1) in split(bytes(wire.transport.out))
        assert len(wire.rpcs) == 1
        assert not wire.transport.closed

    run(work)


def test_a_stream_that_sends_more_than_its_window_is_reset() -> None:
    async def work() -> None:
        wire = Wire(wait=True)
        piece = frame(frames.DATA, 0, 1, b"\0" + (250_000).to_bytes(4, "big") + b"a" * 250_000)
        wire.server.data_received(raw(OPEN, piece, piece))
        await asyncio.sleep(0)
        assert split(bytes(wire.transport.out)).count((frames.WINDOW_UPDATE, 1)) == 0
        wire.server.data_received(piece * 3)  # half a window later it is granted more, and these have not seen it
        await asyncio.sleep(0)
        assert (frames.WINDOW_UPDATE, 1) in split(bytes(wire.transport.out))
        greedy = Wire(wait=True)
        greedy.server.data_received(raw(OPEN) + frame(frames.DATA, 0, 1, b"\0\0\0\0\0"))
        stream = greedy.rpcs[0].stream
        stream._credit = 10
        greedy.server.data_received(frame(frames.DATA, 0, 1, b"a" * 11))
        await asyncio.sleep(0)
        assert (frames.RST_STREAM, 1) in split(bytes(greedy.transport.out))
        assert greedy.rpcs[0].gone == 1

    run(work)


def test_who_takes_no_answers_may_send_no_more_until_it_does() -> None:
    async def work() -> None:
        wire = Wire(window=0)
        await wire.turn()
        body = b"\0" + (250_000).to_bytes(4, "big") + b"a" * 250_000
        sent = 0
        while wire.client.outbound_flow_control_window >= len(body) and sent < 200:
            number = wire.open()
            for start in range(0, len(body), 16_000):
                wire.client.send_data(number, body[start : start + 16_000], end_stream=start + 16_000 >= len(body))
            await wire.turn()
            sent += 1
        assert 33 < sent < 70, "a window, and what is owed"
        wire.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 300_000})
        wire.client.increment_flow_control_window(2**24)
        await wire.turn()
        assert wire.client.outbound_flow_control_window >= 4 << 20
        assert wire.server.credit._owed == 0
        assert len(wire.trailers) == sent

    run(work)


def test_a_refused_stream_that_waits_with_an_answer_is_reset() -> None:
    async def work() -> None:
        wire = Wire(window=0)
        number = wire.open()
        await wire.send(number, b"\0\0\0\0\x01a", end=False)
        wire.rpcs[0].stream.answer(b"b" * 100)
        await wire.send(number, b"\0" + (300_001).to_bytes(4, "big"), end=False)
        assert any(isinstance(one, h2.events.StreamReset) for one in wire.events)
        assert (wire.server.credit.buffered, wire.server.credit._owed) == (0, 0)

    run(work)


def test_a_client_may_ping_with_every_answer() -> None:
    async def work() -> None:
        wire = Wire()
        for _ in range(2_200):
            wire.client.ping(b"measured")
            number = wire.open()
            wire.client.send_data(number, b"\0\0\0\0\x01a", end_stream=True)
            wire.server.data_received(wire.client.data_to_send())
            await asyncio.sleep(0)
            wire.client.receive_data(bytes(wire.transport.out))
            wire.transport.out.clear()
        assert not wire.transport.closed

    run(work)


def test_a_call_that_goes_wrong_in_here_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        wire = Wire()
        first, second = wire.open(), wire.open()
        await wire.turn()

        def broken(data: bytes) -> None:
            raise RuntimeError("not the caller's fault")

        wire.rpcs[0].message = broken  # type: ignore[method-assign]
        await wire.send(first, b"\0\0\0\0\x01a")
        assert wire.trailers[first]["grpc-status"] == str(status.INTERNAL)
        await wire.send(second, b"\0\0\0\0\x01a")
        assert wire.answer(second) == b"a"

    run(work)


def test_what_was_sent_before_the_client_knew_is_answered() -> None:
    async def work() -> None:
        wire = Wire()
        await wire.turn()
        wire.server.leave()
        wire.server.leave()
        late = wire.open()
        wire.client.send_data(late, b"\0\0\0\0\x01a", end_stream=True)
        sent = wire.client.data_to_send()
        wire.server.data_received(sent)
        await asyncio.sleep(0)
        kinds = [kind for kind, _ in split(bytes(wire.transport.out))]
        assert kinds == [frames.GOAWAY, frames.PING, frames.HEADERS, frames.DATA, frames.HEADERS]
        assert not wire.transport.closed
        ping = bytes(wire.transport.out)[26:34]
        wire.transport.out.clear()
        wire.server.data_received(frame(frames.PING, frames.ACK, 0, ping))
        await asyncio.sleep(0)
        assert split(bytes(wire.transport.out)) == [(frames.GOAWAY, 0)]
        assert bytes(wire.transport.out)[9:13] == late.to_bytes(4, "big")
        assert wire.transport.closed

    run(work)


def test_an_answer_that_is_not_taken_ends_whatever_else_comes() -> None:
    async def work() -> None:
        wire = Wire(window=0)
        number = await wire.ask(b"a" * 100)
        now = wire.server.now()
        wire.server.seen = now + 7  # pings
        wire.server.look(now + 6)
        assert wire.server.busy
        wire.server.look(now + 8)
        assert not wire.server.busy
        assert number not in wire.server.streams.open

    run(work)


def test_a_call_whose_message_never_comes_ends() -> None:
    async def work() -> None:
        wire = Wire()
        number = wire.open()
        await wire.turn()
        wire.server.look(wire.server.now() + 6)
        await wire.turn()
        assert wire.trailers[number]["grpc-status"] == str(status.DEADLINE)

    run(work)


def test_members_flags_and_long_words() -> None:
    async def work() -> None:
        wire = Wire()
        twice = gzip.compress(b"one ") + gzip.compress(b"two")
        assert wire.answer(await wire.ask(twice, ("grpc-encoding", "gzip"), flag=1)) == b"one two"
        for data, flag, encoding, code in (
            (b"a", 1, "identity", status.INTERNAL),
            (b"a", 2, "gzip", status.INTERNAL),
            (gzip.compress(b"a") + b"junk", 1, "gzip", status.INVALID),
            (gzip.compress(b"a" * 100)[:-3], 1, "gzip", status.INVALID),
        ):
            number = await wire.ask(data, ("grpc-encoding", encoding), flag=flag)
            assert wire.trailers[number]["grpc-status"] == str(code)
        number = wire.open()
        await wire.turn()
        wire.rpcs[-1].stream.finish(status.INVALID, "w" * 50_000)
        await wire.turn()
        assert len(wire.trailers[number]["grpc-message"]) == status.LONGEST

    run(work)


def test_what_still_runs_on_a_broken_connection_is_cancelled_and_says_no_more() -> None:
    async def work() -> None:
        wire = Wire(wait=True)
        wire.server.data_received(raw(OPEN, frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\x01a")))
        wire.server.data_received(frame(frames.PUSH_PROMISE, 0, 1, b"abcd"))
        assert wire.rpcs[0].gone == 1
        wire.rpcs[0].stream.answer(b"late")
        wire.server.data_received(frame(frames.PING, 0, 0, b"12345678"))
        wire.server.look(wire.server.now() + 1)
        await asyncio.sleep(0)
        assert wire.transport.closed

    run(work)


def test_streams_opened_and_reset_without_end_are_a_flood() -> None:
    async def work() -> None:
        wire, encoder = Wire(wait=True), Encoder()
        wire.server.data_received(raw())
        for number in range(1, 2 * module.MOST_RESETS + 3, 2):
            block = encoder.encode(FIELDS)
            wire.server.data_received(
                frame(frames.HEADERS, frames.END_HEADERS, number, block) + frames.reset(number, frames.CANCEL)
            )
            if wire.transport.closed:
                break
        assert wire.transport.closed
        assert number > 20_000

    run(work)


@pytest.mark.parametrize(
    "more",
    [
        frame(77, 0, 1, b"what is new is let by"),
        frame(frames.PRIORITY, 0, 1, b"\0\0\0\0\1"),
        frames.settings((99, 5)),
        frame(frames.PING, 0, 0, b"12345678"),
        frames.window_update(1, 5),
        frame(frames.DATA, frames.PADDED, 1, b"\x02\0\0\0\0\0ab"),
    ],
)
def test_what_else_may_come(more: bytes) -> None:
    async def work() -> None:
        wire = Wire()
        wire.server.data_received(raw(OPEN, more, frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\x02ok")))
        await asyncio.sleep(0)
        assert not wire.transport.closed
        assert wire.rpcs[0].got[-1] == b"ok"

    run(work)


def test_a_client_that_takes_no_bytes_sends_none_and_is_cut_off() -> None:
    async def work() -> None:
        wire = Wire()
        await wire.turn()
        wire.server.pause_writing()
        assert wire.transport.paused
        now = asyncio.get_running_loop().time()
        wire.server.look(now + 6)
        assert not wire.transport.aborted
        wire.server.resume_writing()
        assert not wire.transport.paused
        wire.server.pause_writing()
        wire.server.look(now + 8)
        assert wire.transport.aborted

    run(work)


def test_a_trickle_ends_and_an_idle_channel_is_let_go() -> None:
    async def work() -> None:
        wire = Wire()
        number = wire.open()
        await wire.send(number, b"\0\0\0\0\x09half", end=False)
        now = asyncio.get_running_loop().time()
        wire.server.look(now + 6)
        await wire.turn()
        assert wire.trailers[number]["grpc-status"] == str(status.DEADLINE)
        wire.server.look(now + 61)
        await asyncio.sleep(0)
        assert not wire.transport.closed  # it is asked first
        wire.server.look(now + 64)
        assert wire.transport.closed
        wire.server.look(now + 67)
        assert wire.transport.aborted
        silent = Wire()
        silent.server.look(now + 6)
        assert silent.transport.aborted

    run(work)
