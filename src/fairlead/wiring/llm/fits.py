"""Fitting a cascade: from a file of labelled answers to what a server keeps to."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from fairlead.contracts.errors import UsageError
from fairlead.kit.clock import Clock
from fairlead.kit.config import Home
from fairlead.serve.llm.cascade import record
from fairlead.serve.llm.cascade.confidence import MEAN, ROUTER, SIGNALS, confidence
from fairlead.serve.llm.cascade.fitting import Point, Row, checked, fit, frontier, recovered
from fairlead.serve.llm.cascade.record import Record
from fairlead.serve.llm.cascade.training import train
from fairlead.wiring.llm.cascades import path

MOST_ROWS: Final = 1_000_000
_LONGEST_LINE: Final = 4 * 2**20
_TRAIN, _TEST, _OF = 2, 3, 4
"""By a hash of the row: below the first a router is trained on it, the second is only tested on, of so many."""


class Labelled(msgspec.Struct, frozen=True):
    """A line of the file. ``cheap``, ``big``: whether the answers were right.

    ``prompt``: what was asked.  ``confidence``, or ``logprobs`` of the cheap answer's tokens: how sure it was.
    """

    cheap: bool | None = None
    big: bool | None = None
    weak_correct: bool | None = None
    strong_correct: bool | None = None
    prompt: str = ""
    confidence: float | None = None
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """``points``: of the rows that were only tested on.  ``recovered``: mean share of the gap that is closed."""

    record: Record
    path: str
    points: Sequence[Point]
    recovered: float


def fitted(
    home: Home,
    clock: Clock,
    endpoint: str,
    step: str,
    data: Path,
    *,
    signal: str = "",
    max_loss: float = 0.02,
    delta: float = 0.05,
) -> Outcome:
    """Fit, test on a part that was not fitted on, and write it where a server looks. Raises UsageError."""
    if not 0.0 < max_loss < 1.0 or not 0.0 < delta < 1.0:
        raise UsageError(f"--max-loss is {max_loss:g} and --delta {delta:g}; both are between 0 and 1")
    if signal and signal not in SIGNALS:
        raise UsageError(f"--signal is {signal!r}; expected one of {', '.join(SIGNALS)}")
    parts: list[list[Labelled]] = [[] for _ in range(_OF)]
    digest = hashlib.sha256()
    for line, row in _rows(data):
        digest.update(line)
        parts[hashlib.sha256(row.prompt.encode() or line).digest()[0] % _OF].append(row)
    every = [row for part in parts for row in part]
    if not every:
        raise UsageError(f"{data} has no rows")
    by = signal or (MEAN if any(row.logprobs or row.confidence is not None for row in every) else ROUTER)
    router = None
    if by == ROUTER:
        known = [row for part in parts[:_TRAIN] for row in part]
        if not known or not all(row.prompt for row in every):
            raise UsageError(f"{data} has rows without a prompt, which is all that a router is shown")
        router = train([row.prompt for row in known], [not _judged(row, 0.0).lost for row in known])
        calibrate, test = parts[_TRAIN:_TEST], parts[_TEST:]
    else:
        calibrate, test = parts[:_TEST], parts[_TEST:]

    def scored(some: list[list[Labelled]]) -> list[Row]:
        rows = [row for part in some for row in part]
        if router is not None:
            return [_judged(row, router.score(row.prompt)) for row in rows]
        return [_judged(row, _sure(row, by, data)) for row in rows]

    on, held = scored(calibrate), scored(test)
    found = fit(on, max_loss, delta)
    made = Record(
        datetime.fromtimestamp(clock.wall_ms() / 1000, UTC).date().isoformat(),
        data.name,
        digest.hexdigest(),
        by,
        None if found.threshold == math.inf else found.threshold,
        max_loss,
        delta,
        record.found(len(on), found),
        record.found(len(held), checked(held, found.threshold, delta)) if held else None,
        found.bins,
        record.packed(router) if router is not None else None,
    )
    where = path(home, endpoint, step)
    record.write(where, made)
    points = frontier(held) if held else []
    return Outcome(made, str(where), points, recovered(points) if points else 0.0)


def _judged(row: Labelled, score: float) -> Row:
    cheap = row.weak_correct if row.cheap is None else row.cheap
    big = row.strong_correct if row.big is None else row.big
    return Row(score, bool(cheap), bool(big))


def _sure(row: Labelled, signal: str, data: Path) -> float:
    sure = confidence(row.logprobs, signal) if row.logprobs else row.confidence
    if sure is None or not 0.0 <= sure <= 1.0:
        raise UsageError(
            f"{data} has rows without logprobs or a confidence from 0 to 1; add them, or fit by the question "
            "alone with --signal router"
        )
    return sure


def _rows(data: Path) -> Iterator[tuple[bytes, Labelled]]:
    """Lines and what they say. Raises UsageError naming the line."""
    decoder = msgspec.json.Decoder(Labelled)
    try:
        with gzip.open(data, "rb") if data.suffix == ".gz" else data.open("rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if number > MOST_ROWS:
                    raise UsageError(f"{data} has more than {MOST_ROWS} rows; give a sample of it")
                if not line.strip():
                    continue
                row = decoder.decode(line)
                if (row.cheap is None and row.weak_correct is None) or (row.big is None and row.strong_correct is None):
                    raise UsageError(f"{data}, line {number}: cheap and big say which was right; one is missing")
                yield line, row
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{data} cannot be read: {error}") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{data}, line {number}: {error}") from None
