"""What serving tells of itself: prediction events in columns, windows, labels; and where they are kept.

``serve`` emits, ``monitor`` reads. Plugin group ``fairlead.events`` (``EventStore``). An event is never an object: a
``Columns`` holds some hundreds of them, column by column, and is handed over whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fairlead.contracts.types import Tensors

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """Calls of one version of one endpoint, in the order in which they ended. All columns are equally long.

    ``ids``: prediction ids.  ``at_ms``: Unix time of arrival.  ``seconds``: from arrival to the answer.
    ``code``: empty for a reply, else the error's code.  ``rows``: rows of each call; features and outputs have
    ``sum(rows)`` rows, and a call that failed has 0.  ``arm``: the share of the split that answered (``champion``,
    ``candidate``, ``shadow``), with ``propensity``, the probability with which a call got it.
    ``unit``: what the assignment hashed (empty: the request id).  ``degraded``: how the answer was less than asked.
    ``weight``: calls that one recorded call stands for (sampling); 1.0 where all are kept.

    ``entity``: the business key of each row of ``sum(rows)``, None where it has none; empty where none has one.
    ``more`` has nullable columns that not every endpoint has, by name: ``event_time_ms``, ``cost``.
    """

    endpoint: str
    version: str
    arm: str
    ids: Sequence[str]
    at_ms: Array
    seconds: Array
    code: Sequence[str]
    rows: Array
    features: Tensors
    outputs: Tensors
    propensity: float = 1.0
    unit: Sequence[str] = ()
    degraded: Sequence[str] = ()
    weight: float = 1.0
    entity: Sequence[str | None] = ()
    more: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    paired: Tensors = field(default_factory=dict)
    """Of a shadow: what the champion answered to the same calls, row by row as ``outputs``."""
    paired_seconds: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Window:
    """What one worker saw of one version between two times, small and mergeable.

    ``start_ms`` is a multiple of ``length_ms``; a worker puts its current window again and again, whole, and the store
    keeps the last. ``latency``: counts over ``monitor.sketches`` bins.  ``codes``: calls by error code.
    ``columns``: feature or output name to the bytes of its histogram (``monitor.sketches`` reads them).
    """

    endpoint: str
    version: str
    arm: str
    worker: str
    start_ms: int
    length_ms: int
    calls: int
    rows: int
    codes: Mapping[str, int]
    latency: bytes
    columns: Mapping[str, bytes]
    pairs: Mapping[str, float] = field(default_factory=dict)
    """Of a shadow, sums over the rows that both answered (``monitor.pairs`` says which)."""
    reference: str = ""
    """Which reference the bins are of: windows of two references are never merged."""


@dataclass(frozen=True, slots=True)
class Label:
    """What turned out to be true. ``key``: a prediction id, or a business key when ``by_key``.

    ``at_ms``: when it became known.  ``row``: which row of the call.  ``value``: label or reward.
    """

    endpoint: str
    key: str
    value: float | str
    at_ms: int
    row: int = 0
    by_key: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """``new`` labels, ``same`` as known already, and ``corrected`` ones, whose history is kept."""

    new: int = 0
    same: int = 0
    corrected: int = 0


def by_fallback(frame: Mapping[str, Array]) -> Array:
    """Which rows of ``EventStore.frame`` a fallback answered, wholly or in part: no evidence of the model itself."""
    told = frame.get("degraded")
    if told is None:
        return np.zeros(len(next(iter(frame.values()), ())), bool)
    return np.array([isinstance(one, str) and one != "" for one in told.tolist()], bool)


class EventStore(Protocol):
    """Where prediction events go. ``append`` is called from one writer thread of each process; readers may be others.

    Raises StorageFull when there is no room, Unavailable when the store does not answer; nothing of the batch is
    then kept.
    """

    def append(self, batch: Sequence[Columns]) -> None:
        """Keep these durably: when it returns, a crash does not lose them."""

    def frame(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        version: str = "",
        limit: int = 0,
        features: bool = True,
    ) -> Mapping[str, Array]:
        """One row for each row predicted, oldest first (``limit``: the newest so many), column by column.

        ``features``: False leaves out the columns ``in.``, the most of the bytes.

        Columns: ``prediction_id row at_ms version arm propensity unit seconds code``, then every feature as ``in.NAME``
        and every output as ``out.NAME`` (a column of several elements as an object array of lists). A column that a
        row does not have is None or NaN. A call without rows (it failed) is one line with ``row`` -1.
        ``degraded weight`` come after ``code``, then ``entity`` where a row has one, and the columns of ``more`` last,
        under their own names (``more.NAME`` where that is taken).
        """

    def query(self, sql: str) -> Mapping[str, Array]:
        """Read-only SQL over the view ``events``."""

    def prune(self, endpoint: str, before_ms: int) -> int:
        """Drop what is older; how many files went."""

    def close(self) -> None: ...


class Recorder(Protocol):
    """What the writer thread hands batches of columns to; which there are is decided in ``wiring``."""

    @property
    def trouble(self) -> str:
        """What does not work now though nothing was lost: a sentence; empty where all is well."""

    def record(self, batch: Sequence[Columns]) -> None:
        """Take these, maybe none; called a few times a second. When it raises, nothing of the batch was taken, and the
        same batch comes again.
        """

    def close(self) -> None:
        """Nothing more comes: what was taken is durable when this returns. Raises when it cannot be."""
