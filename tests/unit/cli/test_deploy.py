"""How ``fairlead deploy`` waits, stops and says what it does."""

from __future__ import annotations

import threading
import time

from fairlead.cli import deploy


def test_it_waits_also_once_it_is_to_stop() -> None:
    stopped = threading.Event()
    stopped.set()
    began = time.monotonic()
    deploy._waited(stopped, 0.05)
    assert time.monotonic() - began >= 0.05
