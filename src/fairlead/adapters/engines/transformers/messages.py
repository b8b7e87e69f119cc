"""What crosses between the server and the process that runs the model: MessagePack behind four bytes of length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

LARGEST: Final = 256 * 2**20


class Load(msgspec.Struct, tag="load"):
    """``dtype``: a name of torch's, or ``auto``.  ``context`` 0: as long as the model says."""

    path: str
    device: str
    dtype: str
    threads: int
    context: int


class Ask(msgspec.Struct, tag="ask"):
    """``prompt``: a text, ids, or messages as a chat template takes them. ``count``: only its tokens are wanted."""

    id: int
    prompt: str | list[int | dict[str, Any]]
    sampling: dict[str, Any]
    count: bool = False


class Cancel(msgspec.Struct, tag="cancel"):
    id: int


ToChild = Load | Ask | Cancel


class Loaded(msgspec.Struct, tag="loaded"):
    context: int


class Begun(msgspec.Struct, tag="begun"):
    id: int
    prompt: int


class Said(msgspec.Struct, tag="said"):
    id: int
    text: str
    tokens: int


class Ended(msgspec.Struct, tag="ended"):
    """Also of an answer that was cancelled, and of a count: the process is free again."""

    id: int
    reason: str
    prompt: int
    output: int


class Failed(msgspec.Struct, tag="failed"):
    """``id`` 0: loading failed.  ``code``: of ``contracts.errors``."""

    id: int
    code: str
    message: str


ToServer = Loaded | Begun | Said | Ended | Failed

_encode = msgspec.msgpack.Encoder().encode


def packed(message: ToChild | ToServer) -> bytes:
    data = _encode(message)
    return len(data).to_bytes(4, "little") + data


class Frames:
    """Whole frames out of bytes that are cut anywhere."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises ValueError for one that is too large."""
        self._held += data
        while len(self._held) >= 4:
            size = int.from_bytes(self._held[:4], "little")
            if size > LARGEST:
                raise ValueError(f"a frame of {size} bytes")
            if len(self._held) < 4 + size:
                return
            frame = bytes(self._held[4 : 4 + size])
            del self._held[: 4 + size]
            yield frame
