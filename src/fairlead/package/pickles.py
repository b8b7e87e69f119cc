"""Know a pickle by its content, without running it."""

from __future__ import annotations

import ast
import bz2
import io
import lzma
import pickletools
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

_HEAD = 1 << 20
_LONG = 1 << 18
"""Nothing but a pickle is a pickle's opcodes for so many bytes."""
_CALLS = {"REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX"}
_FINDS = {"GLOBAL", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}
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
    """A numpy file whose header, of whatever length and spelling, names Python objects: numpy unpickles them.

    A header that numpy itself would not write counts as one: what it hides is not for us to find out.
    """
    if not head.startswith(b"\x93NUMPY"):
        return False
    start = 10 if head[6:7] == b"\x01" else 12
    end = start + int.from_bytes(head[8:start], "little")
    try:
        described = ast.literal_eval(head[start:end].decode("utf-8" if head[6:7] == b"\x03" else "latin-1"))
        return bool(np.lib.format.descr_to_dtype(described["descr"]).hasobject)
    except Exception:  # noqa: BLE001 - a crafted header may break it in any way
        return True


def _old_protocol(head: bytes) -> bool:
    """Protocols 0 and 1 have no magic number: walk the opcodes until one of them would call something.

    Bytes that are opcodes to the end of what was read are a pickle too: something else would not go on for so long.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings that Python will not read for ever
            return _walk(head)
    except (ValueError, OverflowError, MemoryError, IndexError):
        return False


def _walk(head: bytes) -> bool:
    seen: set[str] = set()
    for opcode, _, at in pickletools.genops(io.BytesIO(head)):
        if (at or 0) > _LONG:
            return True
        if opcode.name in _CALLS and seen & _FINDS:
            return True
        if opcode.name in ("INST", "OBJ") and "MARK" in seen:
            return True
        seen.add(opcode.name)
    return False


def _unpacked(head: bytes) -> bytes:
    """The beginning of what the bytes hold when they are compressed; empty when they are not."""
    try:
        if head.startswith(b"\x1f\x8b") or _is_zlib(head):
            return zlib.decompressobj(wbits=47).decompress(head, _HEAD)  # 47: zlib or gzip, by its header
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, _HEAD)
        if head.startswith((b"\xfd7zXZ\x00", b"]\x00")):
            return lzma.LZMADecompressor().decompress(head, _HEAD)
    except _BAD_DATA:
        return b""
    return b""


def _is_zlib(head: bytes) -> bool:
    """The two bytes of a zlib header: method 8, a window of up to 32 KiB, a checksum."""
    return len(head) > 2 and head[0] & 0x8F == 0x08 and int.from_bytes(head[:2], "big") % 31 == 0
