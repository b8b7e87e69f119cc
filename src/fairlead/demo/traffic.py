"""Live traffic for the demo: held-out rows, one a call, every answer checked."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from fairlead.client import Client
from fairlead.contracts.types import Tensors

CALLERS = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """Latencies in milliseconds by nearest rank. ``wrong``: answers that were not what the checked model gives."""

    calls: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    wrong: int
    errors: int
    first_error: str = ""

    @property
    def per_second(self) -> float:
        return self.calls / self.seconds


@dataclass(slots=True)
class _Tally:
    lock: threading.Lock = field(default_factory=threading.Lock)
    latencies: list[float] = field(default_factory=list)
    wrong: int = 0
    errors: list[str] = field(default_factory=list)


def send(url: str, endpoint: str, rows: Tensors, expected: Tensors, output: str, seconds: float) -> Measured:
    """Call ``endpoint`` with one row at a time for ``seconds`` and compare ``output`` with ``expected``."""
    count = len(next(iter(rows.values())))
    turns = itertools.count()
    tally = _Tally()
    began = time.perf_counter()
    ends = began + seconds

    def caller() -> None:
        with Client(url) as client:
            while (start := time.perf_counter()) < ends:
                at = next(turns) % count
                try:
                    answer = client.predict(endpoint, {name: array[at : at + 1] for name, array in rows.items()})
                    right = _same(np.asarray(answer[output])[0], expected[output][at])
                except Exception as error:  # noqa: BLE001 - whatever a caller sees is what the demo reports
                    with tally.lock:
                        tally.errors.append(str(error))
                    continue
                with tally.lock:
                    tally.latencies.append(time.perf_counter() - start)
                    tally.wrong += not right

    threads = [threading.Thread(target=caller, name=f"caller-{i}", daemon=True) for i in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - began
    latencies = np.sort(np.array(tally.latencies)) * 1000
    return Measured(
        calls=len(latencies),
        seconds=taken,
        p50_ms=nearest_rank(latencies, 0.50),
        p95_ms=nearest_rank(latencies, 0.95),
        p99_ms=nearest_rank(latencies, 0.99),
        wrong=tally.wrong,
        errors=len(tally.errors),
        first_error=tally.errors[0] if tally.errors else "",
    )


def nearest_rank(ordered: np.ndarray[tuple[int], np.dtype[np.float64]], share: float) -> float:
    """The smallest value with at least ``share`` of the values at or below it; NaN when there is none."""
    if not len(ordered):
        return float("nan")
    return float(ordered[max(1, int(np.ceil(share * len(ordered)))) - 1])


def _same(given: object, wanted: object) -> bool:
    if isinstance(wanted, float | np.floating):
        return bool(np.isclose(float(given), float(wanted), rtol=1e-5, atol=1e-6))  # type: ignore[arg-type]
    return str(given) == str(wanted)
