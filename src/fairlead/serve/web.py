"""uvicorn as part of a process that has other parts."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import uvicorn


class Web(uvicorn.Server):
    """uvicorn without its signal handling: signals are its owner's, and it would raise them again after shutdown."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
