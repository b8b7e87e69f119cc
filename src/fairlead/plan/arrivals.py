"""When requests come, and how long they are: out of a recorded trace, or by a Poisson process."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from fairlead.contracts.errors import UsageError

_KINDS: Final = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Arrival:
    """``at``: seconds from the first one.  ``prompt``, ``output``: tokens.

    ``blocks``: ids of the blocks that the prompt consists of, where the trace says; the same id, the same text.
    """

    at: float
    prompt: int
    output: int
    blocks: tuple[int, ...] = ()


def read(path: Path, most: int, speed: float = 1.0) -> list[Arrival]:
    """The first ``most`` of a trace, ``speed`` times as fast as they came.

    Takes the CSV of the Azure LLM inference trace 2023 (TIMESTAMP, ContextTokens, GeneratedTokens) and JSON Lines as
    Mooncake has them (timestamp in milliseconds, input_length, output_length, hash_ids); of a folder, its first file.
    Raises UsageError that names file and line.
    """
    found: list[Arrival] = []
    file = _file(path)
    for number, one in enumerate(_rows(file), 2 if ".csv" in file.suffixes else 1):
        try:
            found.append(_arrival(one))
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(f"{file}, line {number} is no request of a trace: {error!r}") from None
        if len(found) >= most:
            break
    if not found:
        raise UsageError(f"{file} has no requests")
    first = found[0].at
    return [Arrival((one.at - first) / speed, one.prompt, one.output, one.blocks) for one in found]


def poisson(rate: float, most: int, prompt: int, output: int, seed: int) -> list[Arrival]:
    """``rate`` requests a second at random times, all as long; ``rate`` 0: all at once."""
    dice, at, found = Random(seed), 0.0, []  # noqa: S311 - no secret
    for _ in range(most):
        found.append(Arrival(at, prompt, output))
        at += dice.expovariate(rate) if rate else 0.0
    return found


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    inside = sorted(one for kind in _KINDS for one in path.glob(f"*{kind}"))
    if not inside:
        raise UsageError(f"{path} has no trace, no file that ends in {', '.join(_KINDS)}")
    return inside[0]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as lines:
            if ".csv" in path.suffixes:
                yield from csv.DictReader(lines)
                return
            for line in lines:
                yield json.loads(line)
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is no trace that can be read: {error}") from None


def _arrival(one: dict[str, Any]) -> Arrival:
    if "TIMESTAMP" in one:
        at = datetime.fromisoformat(one["TIMESTAMP"][:26]).timestamp()
        return Arrival(at, int(one["ContextTokens"]), int(one["GeneratedTokens"]))
    blocks = tuple(int(block) for block in one.get("hash_ids", ()))
    return Arrival(float(one["timestamp"]) / 1000, int(one["input_length"]), int(one["output_length"]), blocks)
