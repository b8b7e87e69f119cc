"""Callers on kept connections against a server whose model says which process answered."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

WHO = """
import os
import time
import numpy as np

class Who:
    inputs = [("seconds", "FP64", [-1, 1])]
    outputs = [("pid", "INT64", [-1])]

    def load(self, path):
        if os.path.exists("fail"):
            raise RuntimeError("told to fail")

    def predict(self, inputs):
        time.sleep(float(inputs["seconds"].max()))
        return {"pid": np.full(len(inputs["seconds"]), os.getpid())}
"""


def request(seconds: float = 0.0) -> bytes:
    tensor = {"name": "seconds", "shape": [1, 1], "datatype": "FP64", "data": [seconds]}
    body = json.dumps({"inputs": [tensor]}).encode()
    return b"POST /v2/models/who/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Caller:
    """One connection. ``pid``: who answered last.  ``closing``: the server said that it was the last answer."""

    def __init__(self, port: int) -> None:
        self.link = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.pid = 0
        self.closing = False

    def send(self, seconds: float = 0.0) -> None:
        self.link.sendall(request(seconds))

    def receive(self) -> int:
        answer = b""
        while True:
            chunk = self.link.recv(65536)
            if not chunk:
                raise ConnectionResetError(f"closed after {len(answer)} bytes of an answer")
            answer += chunk
            head, separator, body = answer.partition(b"\r\n\r\n")
            if separator and len(body) >= int(head.lower().partition(b"content-length:")[2].split()[0]):
                break
        assert answer.startswith(b"HTTP/1.1 200"), answer
        self.closing = b"connection: close" in head.lower()
        self.pid = json.loads(body)["outputs"][0]["data"][0]
        return self.pid

    def ask(self, seconds: float = 0.0) -> int:
        self.send(seconds)
        return self.receive()

    def close(self) -> None:
        self.link.close()


@dataclass
class Crowd:
    """``count`` callers as fast as they can, each on a connection that it keeps while it may.

    ``answers``: by process.  ``lost``: what happened instead of an answer, with who had answered before on that
    connection (0: nobody).  ``refused``: connections that could not be made.
    """

    port: int
    count: int = 8
    pause: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)
    lost: list[tuple[int, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._enough = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(self.count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _call(self) -> None:
        while not self._enough.is_set():
            try:
                caller = Caller(self.port)
            except OSError as error:
                self.refused.append(repr(error))
                return
            try:
                while not self._enough.is_set() and not caller.closing:
                    pid = caller.ask()
                    with self._lock:
                        self.answers[pid] += 1
                    if self.pause:
                        time.sleep(self.pause)
            except (OSError, AssertionError) as error:
                self.lost.append((caller.pid, repr(error)))
            finally:
                caller.close()


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until it holds."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"{what}: not within {seconds:g} seconds"
        time.sleep(0.02)
