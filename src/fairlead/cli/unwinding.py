"""Commands that leave something behind when they are killed: what a signal does to them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def hearing(act: Callable[[int, Any], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP call ``act`` in the block; SIGHUP not under nohup, which outlives a terminal."""
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    for one, handler in before.items():
        if one != signal.SIGHUP or handler is not signal.SIG_IGN:
            signal.signal(one, act)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def unwound() -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP in the block raises SystemExit (128 and its number); those that follow while
    things are cleared away are passed over. Outside of the main thread, which alone hears signals, it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: Any) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    with hearing(end):
        yield
