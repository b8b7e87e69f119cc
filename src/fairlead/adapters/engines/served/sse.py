"""Events of a stream, out of bytes that are cut anywhere (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

from typing import Final

from fairlead.adapters.engines.served.link import Garbled

LARGEST: Final = 4 * 2**20
"""Bytes of one event."""


class Events:
    """``feed`` gives the data of each event that is complete; other fields and comments are left out."""

    __slots__ = ("_data", "_held", "_holding", "_largest", "_size", "_skip")

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._held: list[bytes] = []  # of a line whose end has not come
        self._holding = 0  # how many bytes those are
        self._data: list[bytes] = []  # of an event whose end has not come
        self._size = 0
        self._skip = False  # a line ended with CR: an LF right behind it belongs to it

    def feed(self, chunk: bytes) -> list[bytes]:
        """Raises Garbled for an event that is too large."""
        if b"\r" in chunk or self._skip:
            chunk = self._plain(chunk)
        if b"\n" not in chunk:
            self._hold(chunk)
            return []
        if self._held:
            chunk = b"".join((*self._held, chunk))
            self._held, self._holding = [], 0
        lines = chunk.split(b"\n")
        self._hold(lines.pop())
        found: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._keep(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line:
                if self._data:
                    found.append(self._event())
            elif line == b"data":
                self._keep(b"")
        return found

    def rest(self) -> list[bytes]:
        """The last event of a stream that ended without the empty line behind it."""
        return [*self.feed(b"\n\n")]

    def _keep(self, data: bytes) -> None:
        self._size += len(data) + 1
        if self._size > self._largest:
            raise Garbled(f"an event of its stream has more than {self._largest} bytes")
        self._data.append(data)

    def _event(self) -> bytes:
        data, self._data, self._size = self._data, [], 0
        return data[0] if len(data) == 1 else b"\n".join(data)

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        self._holding += len(part)
        if self._holding > self._largest:
            raise Garbled(f"a line of its stream has more than {self._largest} bytes")
        self._held.append(part)

    def _plain(self, chunk: bytes) -> bytes:
        """With LF at every end of a line."""
        if self._skip and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._skip = False
        if chunk:
            self._skip = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
