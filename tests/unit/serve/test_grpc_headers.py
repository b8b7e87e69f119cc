"""Header blocks are read as any HPACK decoder reads them, remembered or not."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.grpc.headers import OK_HEAD, BadHeaders, HeaderReader, literal, written
from fairlead.serve.grpc.status import percent_encoded

NAMES = st.sampled_from([":path", "te", "grpc-timeout", "user-agent", "x-request-id", "a" * 200])
FIELDS = st.lists(st.tuples(NAMES, st.text("ab0-é", max_size=9)), min_size=1, max_size=6)


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.sampled_from([None, 0, 64, 4096])), min_size=1, max_size=12))
def test_any_sequence_of_blocks(blocks: list[tuple[list[tuple[str, str]], bool, int | None]]) -> None:
    encoder, reader = Encoder(), HeaderReader()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        wanted: dict[bytes, bytes] = {}
        for name, value in fields:
            key = name.encode()
            wanted[key] = wanted[key] + b"," + value.encode() if key in wanted else value.encode()
        assert reader.read(block) == wanted


def test_a_block_that_changes_no_table_is_read_once() -> None:
    encoder, reader = Encoder(), HeaderReader()
    first, second, third = (encoder.encode([(":path", "/a"), ("te", "trailers")]) for _ in range(3))
    assert first != second == third
    assert reader.read(first) == reader.read(second)
    assert reader.read(second) is reader.read(third)
    reader.read(encoder.encode([("x", "new")]))
    again = encoder.encode([(":path", "/a"), ("te", "trailers")])
    assert again != second  # the same numbers mean other fields now
    assert reader.read(again) == {b":path": b"/a", b"te": b"trailers"}


@pytest.mark.parametrize("block", [b"\xff\xff\xff\xff\xff\xff\xff", b"\x80", b"\x40\x85", b"\xbf", b"\x00\x01a"])
def test_what_cannot_be_read(block: bytes) -> None:
    with pytest.raises(BadHeaders):
        HeaderReader().read(block)


def test_more_than_fits() -> None:
    with pytest.raises(BadHeaders, match="larger than"):
        HeaderReader().read(Encoder().encode([(f"x{n}", "v" * 1000) for n in range(80)]))


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=40_000)), max_size=4))
def test_what_is_written_any_decoder_reads(fields: list[tuple[bytes, bytes]]) -> None:
    found = Decoder(1 << 22).decode(written(fields), raw=True)
    assert [(bytes(name), bytes(value)) for name, value in found] == fields


def test_the_head_of_an_answer() -> None:
    assert [pair[:2] for pair in Decoder().decode(OK_HEAD + literal(b"grpc-status", b"0"))] == [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-accept-encoding", "identity,deflate,gzip"),
        ("grpc-status", "0"),
    ]


def test_messages_are_percent_encoded() -> None:
    assert percent_encoded("plain words") == b"plain words"
    assert percent_encoded("50 %\n\u00e9") == b"50 %25%0A%C3%A9"
