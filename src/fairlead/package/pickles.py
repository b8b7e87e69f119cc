"""Know a pickle by its content, without running it."""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import zipfile
import zlib
from pathlib import Path

_HEAD = 1 << 20
_BAD_DATA = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def is_pickle(path: Path) -> bool:
    """True for a pickle of any protocol, raw or compressed the way joblib does it, and for a numpy object array."""
    with path.open("rb") as handle:
        head = handle.read(_HEAD)
    return _pickled(head) or _pickled(_unpacked(head))


def pickles_in_zip(path: Path) -> list[str]:
    """Names of the pickles inside a zip (torch checkpoints, numpy object arrays). Raises ``zipfile.BadZipFile``."""
    found = []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            try:
                with archive.open(name) as member:
                    head = member.read(_HEAD)
            except (*_BAD_DATA, RuntimeError, NotImplementedError) as error:  # encrypted, unknown compression
                raise zipfile.BadZipFile(f"{name}: {error}") from error
            if _pickled(head):
                found.append(name)
    return found


def _pickled(head: bytes) -> bool:
    if len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    return _is_object_array(head) or _old_protocol(head)


def _is_object_array(head: bytes) -> bool:
    return head.startswith(b"\x93NUMPY") and b"'|O" in head[:4096]


def _old_protocol(head: bytes) -> bool:
    """Protocols 0 and 1 have no magic number: walk the opcodes until one of them would call something."""
    seen: set[str] = set()
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(head)):
            if opcode.name in ("REDUCE", "BUILD", "NEWOBJ") and seen & {"GLOBAL", "STACK_GLOBAL"}:
                return True
            if opcode.name in ("INST", "OBJ") and "MARK" in seen:
                return True
            seen.add(opcode.name)
    except (ValueError, OverflowError, MemoryError, IndexError):
        return False
    return False


def _unpacked(head: bytes) -> bytes:
    """The beginning of what the bytes hold when they are compressed; empty when they are not."""
    try:
        if head.startswith(b"\x1f\x8b") or (head[:1] == b"\x78" and head[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda")):
            return zlib.decompressobj(wbits=47).decompress(head, _HEAD)  # 47: zlib or gzip, by its header
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, _HEAD)
        if head.startswith((b"\xfd7zXZ\x00", b"]\x00\x00")):
            return lzma.LZMADecompressor().decompress(head, _HEAD)
    except _BAD_DATA:
        return b""
    return b""
