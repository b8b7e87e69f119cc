"""Compressed bodies: the same bytes out however they are cut, and no bomb goes off."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import BodyTooLarge, FairleadError, InvalidParameter, MalformedBody
from fairlead.serve.inflating import FREE, MEMBERS, RATIO, Inflater, inflater

LIMIT = 64 * 2**20
PACK = {"gzip": gzip.compress, "deflate": zlib.compress}


@given(st.binary(max_size=3000), st.sampled_from(sorted(PACK)), st.integers(1, 700))
def test_the_same_bytes_come_out_however_they_are_cut(data: bytes, name: str, size: int) -> None:
    packed, found = PACK[name](data), Inflater(name, 4096)
    out = b"".join(found.feed(packed[at : at + size]) for at in range(0, len(packed), size))
    found.end()
    assert out == data


@given(st.binary(max_size=300), st.sampled_from(sorted(PACK)))
def test_any_bytes_are_a_body_or_a_typed_error(data: bytes, name: str) -> None:
    found = Inflater(name, 4096)
    try:
        found.feed(data)
        found.end()
    except FairleadError:
        pass


def _fed(found: Inflater, data: bytes) -> None:
    for at in range(0, len(data), 512):
        found.feed(data[at : at + 512])


@pytest.mark.parametrize("name", sorted(PACK))
def test_a_bomb_takes_next_to_no_memory(name: str) -> None:
    bomb = PACK[name](bytes(48 * 2**20))
    assert len(bomb) < 60_000
    tracemalloc.start()
    found = Inflater(name, LIMIT)
    with pytest.raises(BodyTooLarge, match=f"more than {RATIO} times"):
        _fed(found, bomb)
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()


def test_what_compresses_well_and_is_small_is_no_bomb() -> None:
    found = Inflater("gzip", LIMIT)
    assert len(found.feed(gzip.compress(bytes(FREE)))) == FREE
    found.end()


def test_the_plain_size_has_its_own_limit() -> None:
    with pytest.raises(BodyTooLarge, match="more than 1000 bytes once inflated.*--max-body-mb"):
        Inflater("gzip", 1000).feed(gzip.compress(b"x" * 1001))
    assert len(Inflater("gzip", 1000).feed(gzip.compress(b"x" * 1000))) == 1000


def test_members_are_joined_and_counted() -> None:
    assert Inflater("gzip", 100).feed(gzip.compress(b"one") + gzip.compress(b"two")) == b"onetwo"
    began = time.monotonic()
    with pytest.raises(MalformedBody, match=f"more than {MEMBERS} members"):
        Inflater("gzip", LIMIT).feed(gzip.compress(b"") * 200_000)
    assert time.monotonic() - began < 1


def test_what_is_wrong_is_told() -> None:
    for data, words in ((b"no gzip", "not valid gzip"), (gzip.compress(b"x") + b"junk", "not valid gzip")):
        with pytest.raises(MalformedBody, match=words):
            Inflater("gzip", 100).feed(data)
    with pytest.raises(MalformedBody, match="bytes behind the end"):
        Inflater("deflate", 100).feed(zlib.compress(b"x") + b"junk")
    early = Inflater("gzip", 100)
    early.feed(gzip.compress(b"x")[:-3])
    with pytest.raises(MalformedBody, match="ends early"):
        early.end()
    with pytest.raises(InvalidParameter, match="'br' is not supported"):
        inflater("br", 100)
    assert inflater(" Identity ", 100) is None
