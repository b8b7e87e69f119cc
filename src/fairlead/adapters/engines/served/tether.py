"""Runs a program that must not outlive the one who wants it: however that one ends, the program is ended too.

A script of its own: it imports nothing of Fairlead. On its standard input comes one line of JSON, ``{"words": [...],
"environment": {...}, "grace": 5.0}``; when the input ends, so does the program, and all that it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> int:
    told = json.loads(_line())
    os.environ.update(told["environment"])  # environment: the program's, which gets its key by it
    try:
        child = subprocess.Popen(  # noqa: S603 - what the spec says
            told["words"],
            stdin=subprocess.DEVNULL,
            stdout=2,
            process_group=0,
            preexec_fn=_bound,  # noqa: PLW1509 - there is one thread yet
        )
    except OSError as error:
        print(f"{told['words'][0]}: {error}", file=sys.stderr)  # noqa: T201 - a program's last words
        return 127
    signal.signal(signal.SIGTERM, lambda *_: _end(child, told["grace"]))
    threading.Thread(target=_wait_for_end, args=(child, told["grace"]), daemon=True).start()
    code = child.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # what it left behind
    return code if code >= 0 else 128 - code


def _line() -> bytes:
    """The first line, and not a byte more."""
    found = bytearray()
    while (one := os.read(0, 1)) not in (b"", b"\n"):
        found += one
    return bytes(found)


def _bound() -> None:
    """On Linux the program ends also where this script is killed itself."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_end(child: subprocess.Popen[Any], grace: float) -> None:
    while os.read(0, 4096):
        pass
    _end(child, grace)


def _end(child: subprocess.Popen[Any], grace: float) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
        timer = threading.Timer(grace, os.killpg, (child.pid, signal.SIGKILL))
        timer.daemon = True
        timer.start()


if __name__ == "__main__":
    sys.exit(main())
