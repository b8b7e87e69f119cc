"""The access page out of the state store and the audit log of this home."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from fairlead.audit import reading
from fairlead.audit.chain import place_of
from fairlead.audit.entry import Line
from fairlead.audit.heads import Head
from fairlead.audit.reading import Told
from fairlead.audit.segments import chains
from fairlead.audit.verify import verify
from fairlead.console.facts.access import AccessFacts, Entry, Key, Limited, Proof, Refused
from fairlead.console.facts.llm import Budget
from fairlead.console.facts.trouble import Trouble
from fairlead.contracts.errors import FairleadError, NotFound
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import from_body
from fairlead.wiring import access, auditing, ledgering
from fairlead.wiring.console import measured
from fairlead.wiring.console.balances import balances
from fairlead.wiring.console.kept import Kept

KEYS: Final = 200
ENTRIES: Final = 100
REFUSALS: Final = 50
PROVED_BYTES: Final = 32 * 2**20
"""A log that is larger is not proved by a page."""
_LONGEST: Final = 300
ALLOWED: Final = "allowed"
SETTLED_MS: Final = 2_000
"""So long after its last change another one gives a file another time, whatever the clock of the file system."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a proof is of. ``files``: name, inode, size and times of each; the time at which its inode changed is one
    that nobody sets, as one may the other.  ``heads``: those of its chains, which the state store keeps beside those of
    other homes.
    """

    files: tuple[tuple[str, int, int, int, int], ...]
    heads: tuple[Head, ...]

    def settled(self, now_ms: int) -> bool:
        """Whether a change from now on would show."""
        return all(now_ms - changed // 10**6 > SETTLED_MS for *_, changed in self.files)


@dataclass(frozen=True, slots=True)
class AccessPage:
    """``Accesses`` over the home. ``proofs``: the last one, by what it is of."""

    kept: Kept
    proofs: dict[Seen, Proof] = field(default_factory=dict)

    def access(self, actor: str, action: str, outcome: str, since_ms: int, until_ms: int) -> AccessFacts:
        folder = auditing.folder(self.kept.home)
        audited = folder.is_dir()
        calls, refused, last = Counter[str](), Counter[str](), dict[str, str]()
        groups: dict[tuple[str, str, str, str], tuple[int, str]] = {}
        actions: set[str] = set()
        shown: deque[Told] = deque(maxlen=ENTRIES)
        fitting = 0
        for chain, line in reading.between(folder, since_ms, until_ms + 1):
            actions.add(line.action)
            if line.outcome == ALLOWED:
                calls[line.actor] += line.count
                last[line.actor] = line.at
            else:
                refused[line.actor] += line.count
                alike = (line.actor, line.action, line.endpoint, line.outcome)
                groups[alike] = (groups.get(alike, (0, ""))[0] + line.count, line.at)
            if _fits(line, actor, action, outcome):
                fitting += 1
                shown.append((chain, line))
        keys, broken, trouble = self._keys(calls, refused, last, audited=audited)
        most = sorted(groups.items(), key=lambda one: (-one[1][0], one[0]))[:REFUSALS]
        return AccessFacts(
            since_ms,
            until_ms,
            keys[:KEYS],
            max(0, len(keys) - KEYS),
            broken,
            trouble,
            *self._spending(),
            *self._limited(),
            audited,
            tuple(Refused(*alike, count, at) for alike, (count, at) in most),
            tuple(_entry(chain, line) for chain, line in shown),
            max(0, fitting - ENTRIES),
            tuple(sorted(filter(None, actions))[:KEYS]),
            self._proof(folder),
        )

    def _keys(
        self, calls: Counter[str], refused: Counter[str], last: dict[str, str], *, audited: bool
    ) -> tuple[tuple[Key, ...], tuple[str, ...], Trouble | None]:
        now = SystemClock.wall_ms()
        try:
            found, broken = access.known(self.kept.state)
        except FairleadError as error:
            return (), (), Trouble(error.code, str(error))
        keys = []
        for one in found:
            use = (calls[one.name], refused[one.name]) if audited else (None, None)
            told = {"calls": use[0], "refused": use[1], "last_ms": _ms(last.get(one.name))}
            keys.append(from_body(Key, access.document(one, now) | told))
        return tuple(keys), tuple(broken), None

    def _spending(self) -> tuple[tuple[Budget, ...], Trouble | None]:
        try:
            with ledgering.opened(self.kept.home) as store:
                return balances(self.kept, store, SystemClock.wall_ms()), None
        except NotFound:  # nothing was spent here
            return (), None
        except FairleadError as error:
            return (), Trouble(error.code, str(error))

    def _limited(self) -> tuple[tuple[Limited, ...] | None, str]:
        """Calls over limits, or why nobody tells them."""
        try:
            return measured.limited(self.kept), ""
        except FairleadError as error:
            return None, str(error)

    def _proof(self, folder: Path) -> Proof:
        try:
            seen = self._seen(folder)
        except (FairleadError, OSError) as error:  # no heads, or a file that is dropped just now
            return Proof(None, str(error), 0, 0, 0, (), ())
        proof = self.proofs.get(seen)
        if proof is None:
            settled = seen.settled(SystemClock.wall_ms())  # before it is read
            proof = self._proved(folder, sum(size for _, _, size, *_ in seen.files))
            self.proofs.clear()
            if proof.ok is not None and settled:
                self.proofs[seen] = proof
        return proof

    def _seen(self, folder: Path) -> Seen:
        stats = [(path.name, path.stat()) for path in sorted(folder.glob("*.jsonl"))]
        kept = auditing.heads(self.kept.home) if stats else None
        known, here = chains(folder), place_of(folder)
        heads = [one for one in kept.all() if one.chain in known or one.home == here] if kept else []
        return Seen(
            tuple((name, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in stats),
            tuple(sorted(heads, key=lambda head: head.chain)),
        )

    def _proved(self, folder: Path, size: int) -> Proof:
        if not size:
            return Proof(None, "there is no audit log here", 0, 0, 0, (), ())
        if size > PROVED_BYTES:
            why = f"the log has {size / 1e6:,.0f} MB, too much for a page; prove it with: fairlead audit verify"
            return Proof(None, why, 0, 0, 0, (), ())
        try:
            found = verify(folder, auditing.seal(self.kept.audit_key), auditing.heads(self.kept.home))
        except FairleadError as error:
            return Proof(None, str(error), 0, 0, 0, (), ())
        said = tuple(map(str, found.findings[:KEYS]))
        return Proof(not found.findings, "", found.chains, found.entries, found.keyed, said, tuple(found.notes[:KEYS]))


def _fits(line: Line, actor: str, action: str, outcome: str) -> bool:
    refused = line.outcome != ALLOWED
    return (
        actor in ("", line.actor)
        and action in ("", line.action)
        and (outcome in ("", line.outcome) or (outcome == "refused" and refused))
    )


def _entry(chain: str, line: Line) -> Entry:
    detail = tuple((name[:_LONGEST], str(value)[:_LONGEST]) for name, value in list(line.detail.items())[:20])
    about = (line.actor, line.action, line.endpoint, line.version, line.outcome, line.request_id, line.count)
    return Entry(chain, line.seq, line.at, *about, detail)


def _ms(at: str | None) -> int | None:
    return round(datetime.fromisoformat(at).timestamp() * 1000) if at else None
