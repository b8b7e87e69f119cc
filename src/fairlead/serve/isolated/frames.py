"""A message with tensors as bytes. Nothing is pickled.

A frame is a prefix, the message and the layout of the tensors (both MessagePack), then the tensors' own bytes, each at
a multiple of ``ALIGNED``. Bytes over ``INLINE`` lie in memory that both sides see (``Region``); its descriptor goes
over the socket once. BYTES tensors are MessagePack lists of str, bytes, None, numbers and NaN.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from fairlead.contracts.types import Tensors

INLINE: Final = 64 * 1024
"""Bytes of tensors that go over the socket. Measured, both processes' CPU together, for a batch of 64 KiB: 29 us over
the socket and 20 us through shared memory; 1 MiB: 442 and 131 us; 4 MiB: 3,571 and 676 us. Below there is no
difference that counts."""

ALIGNED: Final = 64

LARGEST: Final = 1 << 40
"""Bytes of a frame; more is a broken stream."""

_PREFIX: Final = struct.Struct("!IIQQ?")
"""Bytes of message, layout and tensors; bytes of the region in which the tensors lie (0: in the frame); is it new?"""

_CHUNK: Final = 256 * 1024
_ANCILLARY: Final = socket.CMSG_SPACE(4)
_RAW: Final = "biufcSUmM"
"""Kinds of numpy dtypes whose bytes are their values."""

_Array = np.ndarray[Any, Any]


class Tensor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``dtype``: as numpy spells it, or ``O`` for MessagePack.  ``size``: bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


def _scalar(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__} is none that a BYTES tensor holds")


_encode = msgspec.msgpack.Encoder().encode
_encode_values = msgspec.msgpack.Encoder(enc_hook=_scalar).encode
_decode_layout = msgspec.msgpack.Decoder(list[Tensor]).decode
_decode_values = msgspec.msgpack.Decoder(list[Any]).decode


class Region:
    """Memory that this side writes and the other one reads; it grows and is used again for every frame."""

    def __init__(self) -> None:
        self.descriptor = -1
        self.map: mmap.mmap | None = None
        self.size = 0

    def hold(self, size: int) -> bool:
        """Make room; True when the other side must be given the descriptor."""
        if size <= self.size:
            return False
        self.close()
        self.size = 1 << (size - 1).bit_length()
        self.descriptor = os.memfd_create("fairlead", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, self.size)
        self.map = mmap.mmap(self.descriptor, self.size)
        return True

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor, self.map, self.size = -1, None, 0  # the map goes when nobody looks at it any more


SHARES: Final = hasattr(os, "memfd_create")
"""Whether this system has memory with a descriptor; elsewhere everything goes over the socket."""


def pack(message: msgspec.Struct, tensors: Tensors, region: Region) -> tuple[bytes, int]:
    """What goes over the socket, and the descriptor that goes with it (-1: none).

    Raises TypeError, ValueError or OverflowError for an array whose values cannot cross.
    """
    layout, buffers = _laid_out(tensors)
    head, described = _encode(message), _encode(layout)
    size = sum(_padded(tensor.size) for tensor in layout)
    if size <= INLINE or not SHARES:
        pieces: list[Any] = [_PREFIX.pack(len(head), len(described), size, 0, False), head, described]
        for tensor, buffer in zip(layout, buffers, strict=True):
            pieces += (buffer, bytes(_padded(tensor.size) - tensor.size))
        return b"".join(pieces), -1
    new = region.hold(size)
    whole = np.frombuffer(region.map, np.uint8)  # type: ignore[arg-type]  # hold made it
    at = 0
    for tensor, buffer in zip(layout, buffers, strict=True):
        whole[at : at + tensor.size] = np.frombuffer(buffer, np.uint8)
        at += _padded(tensor.size)
    prefix = _PREFIX.pack(len(head), len(described), size, region.size, new)
    return b"".join((prefix, head, described)), region.descriptor if new else -1


def _padded(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _laid_out(tensors: Tensors) -> tuple[list[Tensor], list[Any]]:
    layout, buffers = [], []
    for name, array in tensors.items():
        kind = array.dtype.kind
        buffer: Any
        if kind == "O":
            buffer, spelled = _encode_values(array.reshape(-1).tolist()), "O"
        elif kind in _RAW:
            buffer, spelled = np.ascontiguousarray(array).reshape(-1).view(np.uint8), array.dtype.str
        else:
            raise ValueError(f"tensor {name!r} has the numpy dtype {array.dtype}, which cannot be sent")
        buffers.append(buffer)
        layout.append(Tensor(name, spelled, array.shape, len(buffer)))
    return layout, buffers


class Reader:
    """Cuts a stream into messages of ``kinds`` with their tensors. Raises ValueError for what is no frame.

    ``copy``: give tensors of their own; else those over ``INLINE`` hold only until the next frame comes.
    """

    def __init__(self, kinds: Any, *, copy: bool) -> None:
        self._decode = msgspec.msgpack.Decoder(kinds).decode
        self._copy = copy
        self._left = bytearray()
        self._descriptors: deque[int] = deque()
        self._map: mmap.mmap | None = None

    def read(self, link: socket.socket) -> list[tuple[Any, Tensors]] | None:
        """What came; None at the end of the stream. Raises BlockingIOError where nothing is there yet."""
        data, ancillary, _, _ = link.recvmsg(_CHUNK, _ANCILLARY, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        for level, kind, passed in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.append(struct.unpack_from("=i", passed)[0])
        return self.feed(data) if data else None

    def feed(self, data: bytes) -> list[tuple[Any, Tensors]]:
        self._left += data
        found = []
        at = 0
        while len(self._left) - at >= _PREFIX.size:
            head, described, size, region, new = _PREFIX.unpack_from(self._left, at)
            start = at + _PREFIX.size
            body = start + head + described
            end = body if region else body + size
            if end - at > LARGEST:
                raise ValueError(f"a frame of {end - at} bytes")
            if len(self._left) < end:
                break
            message = self._decode(self._left[start : start + head])
            layout = _decode_layout(self._left[start + head : body])
            source: Any = self._region(region, new) if region else bytes(self._left[body:end])
            found.append((message, self._tensors(layout, source, copy=self._copy and bool(region))))
            at = end
        del self._left[:at]
        return found

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._map = None

    def _region(self, size: int, new: bool) -> mmap.mmap:
        if new:
            if not self._descriptors:
                raise ValueError("a region came without its descriptor")
            descriptor = self._descriptors.popleft()
            try:
                self._map = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
        if self._map is None:
            raise ValueError("tensors in a region that never came")
        return self._map

    def _tensors(self, layout: Sequence[Tensor], source: Any, *, copy: bool) -> Tensors:
        found: Tensors = {}
        at = 0
        for tensor in layout:
            if tensor.dtype == "O":
                values = _decode_values(memoryview(source)[at : at + tensor.size])
                array: _Array = np.fromiter(values, object, len(values)).reshape(tensor.shape)
            else:
                raw = np.frombuffer(source, np.uint8, tensor.size, at)
                array = raw.view(np.dtype(tensor.dtype)).reshape(tensor.shape)
                array = array.copy() if copy else array
            found[tensor.name] = array
            at += _padded(tensor.size)
        return found
