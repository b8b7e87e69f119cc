"""The traffic of the loop's story: rows in order of time, one a call, and their labels some time later."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fairlead.demo.stream import Stream

CALLERS = 4
LABELS_AT_ONCE = 500
_TIMEOUT = 30.0


@dataclass(slots=True)
class Seen:
    """``scores``: what a row was answered when it was asked first (NaN: not asked yet).  ``versions``: by whom."""

    scores: np.ndarray
    versions: np.ndarray
    calls: int = 0
    failed: int = 0
    first_failure: str = ""
    answered: Counter[str] = field(default_factory=Counter)


class Flow:
    """Callers on threads of this process. ``hold``: ask for the newest rows again and again instead of going on.

    ``delay``: seconds from an answer to its label.  ``rate``: calls a second while the stream goes on; while it is held
    the callers ask as fast as they are answered.
    """

    def __init__(self, host: str, port: int, endpoint: str, stream: Stream, *, delay: float, rate: float) -> None:
        self._host, self._port, self._endpoint = host, port, endpoint
        self._stream, self._delay, self._rate = stream, delay, rate
        self._bodies = _bodies(stream)
        self._lock = threading.Lock()
        self._next, self._until, self._again = stream.third, stream.third, 0
        self._due = 0.0
        self._labels: deque[tuple[float, str, int]] = deque()
        self._identities: dict[int, str] = {}
        self._stopped = threading.Event()
        rows = len(stream.label)
        self.seen = Seen(np.full(rows, np.nan), np.zeros(rows, int))
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CALLERS)]
        self._threads.append(threading.Thread(target=self._tell, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(_TIMEOUT)

    @property
    def position(self) -> int:
        """The first row that was not asked yet."""
        return self._next

    @property
    def rested(self) -> float:
        """Seconds since the stream was held; 0 while it goes on."""
        return time.monotonic() - self._due if self._next >= self._until else 0.0

    def identities(self) -> list[tuple[int, str]]:
        """Row and prediction id of what was asked first."""
        with self._lock:
            return list(self._identities.items())

    def go(self, until: int) -> None:
        """Go on to this row; there the newest rows are repeated."""
        with self._lock:
            self._until = min(until, len(self._bodies))
            self._due = time.monotonic()

    def _row(self) -> tuple[int, bool, float]:
        """The next row, whether it is new, and when to ask it."""
        with self._lock:
            if self._next < self._until:
                row = self._next
                self._next += 1
                self._due += 1.0 / self._rate
                return row, True, self._due
            self._again += 1
            span = min(2000, self._next - self._stream.third) or 1
            return self._next - 1 - self._again % span, False, 0.0

    def _ask(self) -> None:
        link = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        path = f"/v2/models/{self._endpoint}/infer"
        headers = {"content-type": "application/json"}
        while not self._stopped.is_set():
            row, new, at = self._row()
            if (pause := at - time.monotonic()) > 0:
                time.sleep(pause)
            try:
                link.request("POST", path, self._bodies[row], headers)
                response = link.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                link.close()
                if not self._stopped.is_set():
                    self._failed(f"{type(error).__name__}: {error}")
                    time.sleep(0.05)
                continue
            if response.status != http.client.OK:
                self._failed(text.decode(errors="replace"))
                continue
            self._answered(row, new, json.loads(text), response.headers["fairlead-version"])
        link.close()

    def _failed(self, why: str) -> None:
        with self._lock:
            self.seen.calls += 1
            self.seen.failed += 1
            self.seen.first_failure = self.seen.first_failure or why

    def _answered(self, row: int, new: bool, reply: dict[str, Any], version: str) -> None:
        with self._lock:
            self.seen.calls += 1
            self.seen.answered[version] += 1
            if new:
                self.seen.scores[row] = _score(reply)
                self.seen.versions[row] = int(version)
                identity = self._identities[row] = reply["parameters"]["prediction_id"]
                self._labels.append((time.monotonic() + self._delay, identity, int(self._stream.label[row])))

    def _tell(self) -> None:
        link = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        while not self._stopped.wait(0.1):
            with self._lock:
                due: list[dict[str, Any]] = []
                while self._labels and self._labels[0][0] <= time.monotonic() and len(due) < LABELS_AT_ONCE:
                    _, identity, label = self._labels.popleft()
                    due.append({"prediction_id": identity, "label": label})
            if not due:
                continue
            body = json.dumps({"endpoint": self._endpoint, "labels": due})
            for again in (True, False):  # a connection that was idle may be closed: a fresh one is tried, once
                try:
                    link.request("POST", "/v1/feedback", body, {"content-type": "application/json"})
                    response = link.getresponse()
                    text = response.read()
                    if response.status != http.client.OK:
                        self._failed(text.decode(errors="replace"))
                    break
                except (OSError, http.client.HTTPException) as error:
                    link.close()
                    if not again and not self._stopped.is_set():
                        self._failed(f"labels: {type(error).__name__}: {error}")
        link.close()


def _bodies(stream: Stream) -> list[bytes]:
    numeric = pd.api.types.is_numeric_dtype
    kinds = {name: "FP64" if numeric(stream.features[name]) else "BYTES" for name in stream.features}
    bodies = []
    for values in stream.features.itertuples(index=False):
        inputs = [
            {"name": name, "shape": [1, 1], "datatype": kinds[name], "data": [None if value != value else value]}  # noqa: PLR0124 - NaN
            for name, value in zip(stream.features.columns, values, strict=True)
        ]
        bodies.append(json.dumps({"inputs": inputs}).encode())
    return bodies


def _score(reply: dict[str, Any]) -> float:
    """The probability of class 1: the last of the first output that holds shares."""
    for output in reply["outputs"]:
        if output["datatype"] in ("FP32", "FP64"):
            return float(output["data"][-1])
    return float(reply["outputs"][0]["data"][0])
