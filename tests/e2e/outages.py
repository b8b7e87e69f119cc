"""A TCP proxy between a server and a store, that can be cut, hung and restored."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Proxy:
    """``port``: where it listens for the service behind it."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._flows, self._cut = threading.Event(), False
        self._flows.set()
        self._links: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """Reset what is open, refuse what comes."""
        self._cut = True
        self._flows.set()
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            _end(link)

    def hang(self) -> None:
        """Everything stays open and nothing moves, not even for who comes anew."""
        self._flows.clear()

    def restore(self) -> None:
        self._cut = False
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                _end(near)
                continue
            try:
                far = socket.create_connection(self._there, timeout=5)
            except OSError:
                _end(near)
                continue
            far.settimeout(None)
            with self._lock:
                self._links |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self._flows.wait()
                other.sendall(data)
        for link in (one, other):
            with self._lock:
                self._links.discard(link)
            _end(link)


def _end(link: socket.socket) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()
