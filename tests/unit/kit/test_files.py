from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from fairlead.kit.files import unwritable, write_whole


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/home/x"), "No space left on device (/home/x)"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (sqlite3.OperationalError("database or disk is full"), "database or disk is full"),
        (RuntimeError(f"3 files failed: [Errno 28] {os.strerror(errno.ENOSPC)}: 'x'"), os.strerror(errno.ENOSPC)),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), ""),
        (ValueError("full of hope"), ""),
    ],
)
def test_what_a_full_disk_said(error: Exception, said: str) -> None:
    assert unwritable(error) == said


def test_it_is_looked_for_down_the_chain_which_may_be_a_ring() -> None:
    outer, inner = ValueError("cannot save"), OSError(errno.ENOSPC, "No space left on device")
    outer.__cause__ = inner
    assert unwritable(outer) == "No space left on device"
    inner = ValueError("inner")
    outer.__cause__, inner.__cause__ = inner, outer
    assert unwritable(outer) == ""


def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    sink = tmp_path / "sink"
    sink.symlink_to("/dev/null")
    write_whole(sink, b"data")
    assert sink.is_symlink()
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        write_whole(tmp_path, b"data")
