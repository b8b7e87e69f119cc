"""A child process that does not outlive its parent, however the parent ends."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import threading

_STDIN = 0


def accompany() -> None:
    """What a server's child does first: it ends with the server and when that says so, and tells of its crash."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to all of a terminal or a service: the server says when to end
    die_with_the_parent()
    faulthandler.enable()


def die_with_the_parent() -> None:
    """End this process when its standard input does: a pipe that the parent holds open, and closes when it is killed.

    By a signal that the kernel sends, so that code that never lets other threads run is ended too; by a thread where
    the system cannot.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(_STDIN, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(_STDIN, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(_STDIN, fcntl.F_SETFL, fcntl.fcntl(_STDIN, fcntl.F_GETFL) | os.O_ASYNC)
    else:
        threading.Thread(target=_wait_for_the_end, name="fairlead-alone", daemon=True).start()


def _wait_for_the_end() -> None:
    os.read(_STDIN, 1)
    os._exit(1)
