from __future__ import annotations

import errno
import os
import sqlite3

import pytest

from fairlead.kit.files import unwritable


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
