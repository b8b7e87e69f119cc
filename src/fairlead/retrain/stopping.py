"""How a run is told to stop, and how it says why it ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fairlead.contracts.errors import Cancelled, FairleadError
from fairlead.kit.sentences import cause


class Stopped(KeyboardInterrupt):
    """SIGTERM, as an exception that a pipeline's ``except Exception`` does not swallow."""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM raises here, in the main thread; elsewhere signals are left alone."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        raise Stopped("the run was told to stop (SIGTERM)")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def why_of(error: BaseException) -> tuple[str, str]:
    """Why a run failed, in a sentence, and the code of it."""
    if isinstance(error, FairleadError):
        return str(error), error.code
    if isinstance(error, KeyboardInterrupt):
        return str(error) if isinstance(error, Stopped) else cause(error), Cancelled.code
    return cause(error), FairleadError.code
