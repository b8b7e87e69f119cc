"""Is the log what was written? Bytes and heads in, findings out: the first thing that is wrong in each chain.

Found are an entry that was edited (one bit of it), removed, inserted, moved or cut off at the end, and a file that is
gone; where heads are kept, also the removal of a whole chain. What is no finding: the torn end that a killed process
left, which the next entry vouches for, and segments that were dropped as too old, which an entry says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.audit.chain import free, place_of
from fairlead.audit.entry import RECOVERED, RETENTION, Line, Seal, decode, genesis
from fairlead.audit.heads import Head, Heads
from fairlead.audit.segments import Segment, bytes_of, chains, name_of, strangers


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where. ``line``: from 1; 0: the file as a whole."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}{f' line {self.line}' if self.line else ''}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verified:
    """``notes``: what is told and is nothing wrong.  ``keyed``: entries that were sealed with a key."""

    chains: int
    entries: int
    keyed: int
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Walk:
    """A chain as far as it was read."""

    chain: str
    seal: Seal
    alive: bool
    seq: int = 0
    prev: str = ""
    keyed: int = 0
    file: str = ""
    line: int = 0
    whole: int = 0
    entries: int = 0
    wanted: int = 0
    there: Finding | None = None
    """The entry ``wanted``, its digest for what is wrong."""
    dropped: list[tuple[int, str]] = field(default_factory=list)
    begins: tuple[int, str] | None = None
    notes: list[str] = field(default_factory=list)


def verify(folder: Path, seal: Seal, heads: Heads | None = None) -> Verified:
    """The whole log of a home. Raises UsageError for a key that is missing or another one, Unavailable for heads."""
    kept = {one.chain: one for one in heads.all()} if heads is not None else {}  # before the files: they only grow
    found, notes, findings = chains(folder), [], []
    entries = keyed = 0
    for name, segments in found.items():
        head = kept.get(name)
        walk = _Walk(name, seal, alive=not free(folder, name), wanted=head.seq if head else 0)
        wrong = _walked(walk, segments, head)
        findings += [wrong] if wrong else []
        entries += walk.entries
        keyed += walk.keyed
        notes += walk.notes
        if heads is not None and name not in kept and walk.seq:
            notes.append(f"{segments[-1].path.name}: no head of this chain is kept; its last entries could be missing")
    for name, head in kept.items():
        if name not in found and head.home == place_of(folder):
            findings.append(Finding(name_of(name, 1), 0, f"the file is gone: {head.seq} entries of it were kept"))
    findings += [Finding(path.name, 0, "is no file of the log") for path in strangers(folder)]
    if heads is None:
        notes.append("no heads are kept, so that entries removed at the end would not be seen: fairlead[registry]")
    return Verified(len(found), entries, keyed, findings, notes)


def _walked(walk: _Walk, segments: Sequence[Segment], head: Head | None) -> Finding | None:
    number = segments[0].number
    for segment in segments:
        walk.file, walk.line = segment.path.name, 0
        if segment.number != number:
            return Finding(name_of(walk.chain, number), 0, f"the file is gone, of chain {walk.chain}")
        number += 1
        wrong = _read(walk, bytes_of(segment), last=segment is segments[-1])
        if wrong:
            return wrong
    if walk.begins is not None and walk.begins not in walk.dropped:
        first = walk.begins[0]
        return Finding(segments[0].path.name, 1, f"entries 1 to {first} before it are missing, and no entry drops them")
    return _against(walk, head)


def _read(walk: _Walk, data: bytes, *, last: bool) -> Finding | None:
    *lines, rest = data.split(b"\n")
    for place, raw in enumerate(lines):
        walk.line = place + 1
        line = decode(raw, walk.seal)
        if line is None:
            if _vouched(walk, raw, lines[place + 1 :]):
                walk.notes.append(f"{walk.file} line {walk.line}: torn, as the entry after it says")
                continue
            return Finding(walk.file, walk.line, "the entry was edited: its digest is another")
        wrong = _next(walk, line, lines[place + 1 :])
        if wrong:
            return wrong
    walk.whole = len(lines)
    if rest:
        walk.line = len(lines) + 1
        return _rest(walk, rest, last=last)
    return None


def _vouched(walk: _Walk, raw: bytes, after: Sequence[bytes]) -> bool:
    """Whether the next entry says that these bytes were left by a process that was killed."""
    line = decode(after[0], walk.seal) if after else None
    return (
        line is not None
        and line.action == RECOVERED
        and line.detail.get("torn_bytes") == len(raw)
        and line.detail.get("torn_sha256") == hashlib.sha256(raw).hexdigest()
    )


def _next(walk: _Walk, line: Line, after: Sequence[bytes]) -> Finding | None:
    if not walk.seq and line.seq > 1 and walk.begins is None:
        walk.begins = (line.seq - 1, line.prev)
        walk.seq, walk.prev = walk.begins
    expected, prev = walk.seq + 1, walk.prev or genesis(walk.chain)
    if line.seq != expected:
        return Finding(walk.file, walk.line, _misplaced(line.seq, expected, after, walk.seal))
    if line.prev != prev:
        return Finding(walk.file, walk.line, f"entry {line.seq} does not follow the one before it: it was replaced")
    if line.hash.startswith("hmac"):
        walk.keyed += 1
    elif walk.keyed:
        return Finding(walk.file, walk.line, f"entry {line.seq} is not sealed with the key, and one before it is")
    if line.action == RETENTION:
        walk.dropped.append((int(line.detail.get("through") or 0), str(line.detail.get("digest"))))
    walk.seq, walk.prev = line.seq, line.hash
    walk.entries += 1
    if line.seq == walk.wanted:
        walk.there = Finding(walk.file, walk.line, line.hash)
    return None


def _misplaced(seq: int, expected: int, after: Sequence[bytes], seal: Seal) -> str:
    later = (decode(raw, seal) for raw in after)
    if seq > expected and any(line is not None and line.seq == expected for line in later):
        return f"entry {seq} stands before entry {expected}: they were reordered, or it was inserted"
    if seq > expected:
        return f"{_span(expected, seq - 1)} missing before it"
    return f"entry {seq} stands where entry {expected} is expected: it was inserted or moved"


def _span(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"


def _rest(walk: _Walk, rest: bytes, *, last: bool) -> Finding | None:
    """What stands behind the last newline."""
    if not last or decode(rest[: rest.rfind(b"}") + 1], walk.seal) is not None:
        return Finding(walk.file, walk.line, "the line has no end: it was edited")
    if not walk.alive:
        walk.notes.append(
            f"{walk.file} line {walk.line}: torn after {len(rest)} bytes: the process that wrote it was killed; "
            "the next entry of this chain will say so"
        )
    return None


def _against(walk: _Walk, head: Head | None) -> Finding | None:
    if head is None:
        return None
    if head.seq > walk.seq:
        return Finding(walk.file, walk.whole + 1, f"{_span(walk.seq + 1, head.seq)} missing at the end")
    there = walk.there
    if there is not None and there.what != head.hash:
        return Finding(there.file, there.line, f"the chain was written anew: entry {head.seq} is not the one that was")
    return None
