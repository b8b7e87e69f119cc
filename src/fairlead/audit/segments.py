"""The files of a log: chains, each of one writer at a time, each in numbered segments, ``CHAIN.NUMBER.jsonl``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fairlead.audit.entry import Line, read

_NAME = re.compile(r"(?P<chain>[0-9a-f]{8})\.(?P<number>\d{6})\.jsonl")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a chain."""

    chain: str
    number: int
    path: Path


def name_of(chain: str, number: int) -> str:
    return f"{chain}.{number:06d}.jsonl"


def chains(folder: Path) -> dict[str, list[Segment]]:
    """The segments of each chain, the oldest first."""
    found: dict[str, list[Segment]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found.setdefault(match["chain"], []).append(Segment(match["chain"], int(match["number"]), path))
    return found


def strangers(folder: Path) -> list[Path]:
    """Files that look like segments and are none."""
    return [path for path in sorted(folder.glob("*.jsonl")) if _NAME.fullmatch(path.name) is None]


def bytes_of(segment: Segment) -> bytes:
    """All of it; nothing where it was dropped meanwhile."""
    try:
        return segment.path.read_bytes()
    except FileNotFoundError:
        return b""


def begins(segment: Segment) -> str:
    """When the first entry was made, as ``Line.at``; empty where the first line is none."""
    try:
        with segment.path.open("rb") as file:
            line = read(file.readline().rstrip(b"\n"))
    except FileNotFoundError:
        return ""
    return line.at if line is not None else ""


def entries(segments: list[Segment]) -> Iterator[Line]:
    """What can be read of a chain, in order, whether it holds or not."""
    for segment in segments:
        for raw in bytes_of(segment).split(b"\n"):
            line = read(raw)
            if line is not None:
                yield line
