"""Forms with files: what clients write is read, and nothing else brings anything but an error of the caller."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.errors import MalformedBody
from fairlead.serve.openai.batch.multipart import MOST, Part, parts

KIND = "multipart/form-data; boundary=xx"
HEAD = b'content-disposition: form-data; name="a"\r\n\r\n'
PLAIN = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='"\\')
BOUNDARIES = st.text("abcDEF0123456789-_", min_size=1, max_size=70)
PARTS = st.lists(
    st.builds(Part, st.text(PLAIN, min_size=1, max_size=20), st.none() | st.text(PLAIN, max_size=20), st.binary()),
    max_size=5,
)


def written(boundary: str, found: list[Part]) -> bytes:
    """As RFC 7578 says."""
    mark = b"--" + boundary.encode()
    body = b""
    for one in found:
        name = f'content-disposition: form-data; name="{one.name}"'.encode()
        file = b"" if one.filename is None else f'; filename="{one.filename}"'.encode()
        body += mark + b"\r\n" + name + file + b"\r\ncontent-type: text/plain\r\n\r\n" + one.data + b"\r\n"
    return body + mark + b"--\r\n"


@settings(deadline=None)
@given(BOUNDARIES, PARTS)
def test_what_is_written_is_read(boundary: str, found: list[Part]) -> None:
    mark = b"--" + boundary.encode()
    if any(mark in one.data for one in found):
        return  # which a client must not write
    assert parts(f'multipart/form-data; boundary="{boundary}"', written(boundary, found)) == found


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from([b"--xx", b"--", b"\r\n", HEAD, b"xx", b"\r\n\r\n", b" ", b"a", b"\n", b"\x00"])))
def test_odd_bytes(pieces: list[bytes]) -> None:
    try:
        found = parts(KIND, b"".join(pieces))
    except MalformedBody:
        return
    assert all(one.name == "a" for one in found)


@settings(deadline=None)
@given(st.text(max_size=100), st.binary(max_size=200))
def test_odd_kinds(kind: str, body: bytes) -> None:
    for one in (kind, f"multipart/form-data; boundary={kind}"):
        try:
            parts(one, body)
        except MalformedBody:
            continue


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"--xx\r\n" + HEAD + b"1\r\n--xx--", b"1"),
        (b"--xx  \r\n" + HEAD + b"1\r\n--xx--\r\nafter", b"1"),
        (b"before\r\n--xx\r\n" + HEAD + b"1\r\n--xx--", b"1"),
        (b"--xx\r\n" + HEAD + b"\r\n--xxy\r\n--xx--", b"\r\n--xxy"),
        (b"--xx\r\n" + HEAD + b"--xx--", b""),
        (b"--xx\r\n" + HEAD + b"\r\n--xx--", b""),
    ],
)
def test_boundaries(body: bytes, data: bytes) -> None:
    assert parts(KIND, body) == [Part("a", None, data)]


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("application/json", b"{}", "multipart/form-data"),
        ("multipart/form-data", b"", "no boundary"),
        (f"multipart/form-data; boundary={'x' * 71}", b"", "no boundary"),
        (KIND, b"", "before its last boundary"),
        (KIND, b"--xx\r\n" + HEAD + b"1", "before its last boundary"),
        (KIND, b"--xx\r\n\r\n1\r\n--xx--", "no headers|no content-disposition"),
        (KIND, b"--xx\r\na: b\r\n\r\n1\r\n--xx--", "no content-disposition"),
        (KIND, b"--xx\r\ncontent-disposition: form-data\r\n\r\n1\r\n--xx--", "no name"),
        (KIND, b'--xx\r\ncontent-disposition: inline; name="a"\r\n\r\n1\r\n--xx--', "not form-data"),
        (KIND, b"--xx\r\na: " + b"b" * 9000 + b"\r\n\r\n1\r\n--xx--", "bytes of them"),
        (KIND, (b"--xx\r\n" + HEAD + b"1\r\n") * (MOST + 1) + b"--xx--", f"more than {MOST}"),
    ],
)
def test_refused(kind: str, body: bytes, why: str) -> None:
    with pytest.raises(MalformedBody, match=why):
        parts(kind, body)


def test_names_are_unescaped() -> None:
    head = b'Content-Disposition: form-data; name="a"; filename="x\\"y;z=1.jsonl"\r\n\r\n'
    (found,) = parts(KIND, b"--xx\r\n" + head + b"1\r\n--xx--")
    assert found.filename == 'x"y;z=1.jsonl'
