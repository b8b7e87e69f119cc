"""The process that a thing outside of it belongs to, as a text that says whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def here() -> str:
    """This process: its machine, its number, and when it began, since numbers are given again."""
    return f"{socket.gethostname()} {os.getpid()} {_born(os.getpid())}"


def gone(owner: str) -> bool:
    """Whether the process that ``here`` named has ended. False for one of another machine, and for a text that is no
    owner: of these nothing is known."""
    machine, _, rest = owner.partition(" ")
    pid, _, born = rest.partition(" ")
    if machine != socket.gethostname() or not (pid.isascii() and pid.isdigit() and len(pid) < 10):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # somebody else's
    return bool(born) and _born(int(pid)) != born


def _born(pid: int) -> str:
    """Ticks from the start of the machine to that of the process (proc(5), ``stat``, field 22); empty where the system
    does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
