"""What a deployment remembers at its target: what it made, who is at work, what was there before, the last good ones.

It is written before anything is touched, so a deployment that was killed can still be undone, and while it goes on, so
that no other one begins meanwhile. Every write names the revision that was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from fairlead.contracts.errors import Busy, LeaseLost, ObjectConflict, ObjectTooLarge, TargetError, TargetUnreachable
from fairlead.contracts.target import Body, Note, Ref, Seen, State, Target
from fairlead.orchestrate.deploy.history import History

BEAT: Final = 5.0
"""Seconds between two signs of life."""
SILENT_MS: Final = 60_000
"""A deployment that gave none for so long has been killed."""


@dataclass(frozen=True, slots=True)
class Before:
    """How an object was before the deployment; ``body`` None: it was not there.  ``managers``: as ``Seen`` has it."""

    ref: Ref
    body: Body | None = None
    owner: str = ""
    managers: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """``made``: what this deployment has made and not taken away.  ``before``: what was there, of what it changed.

    ``holder``: who is at work, empty when nobody is; ``at_ms``: the last sign of life.  ``history``: the good ones.
    """

    made: tuple[Ref, ...] = ()
    before: tuple[Before, ...] = ()
    holder: str = ""
    at_ms: int = 0
    history: History = field(default_factory=History)


@dataclass(slots=True)
class Journal:
    """One deployment's note. ``owner``: its name.  ``holder``: tells this process from all others."""

    target: Target
    owner: str
    holder: str
    record: Record = field(default_factory=Record)
    _note: Note | None = None
    _beat: float = 0.0
    _lost: set[str] = field(default_factory=set)
    """SHA-256 of what was written without an answer, and may be there."""

    def open(self, now_ms: int, *, looks: bool = False) -> Record:
        """What is remembered. Raises Busy while another process is at work, unless this one only ``looks``."""
        self._note = self.target.note(self.owner)
        self.record = read(self._note.text)
        if not looks and self.record.holder not in ("", self.holder) and now_ms - self.record.at_ms < SILENT_MS:
            seconds = (now_ms - self.record.at_ms) / 1000
            raise Busy(
                f"{self.record.holder} is at work on deployment {self.owner!r} (last sign {seconds:.0f} s ago); "
                f"wait for its end, or {SILENT_MS / 1000:g} s if it was killed"
            )
        return self.record

    @property
    def interrupted(self) -> str:
        """Who was at work and is silent."""
        return "" if self.record.holder == self.holder else self.record.holder

    def write(self, record: Record, now_ms: int) -> None:
        """Remember. Raises LeaseLost when another process has written meanwhile.

        Where a target has no room for all of it, the oldest of the good ones are forgotten.
        """
        if self._note is None:
            raise TargetError(f"deployment {self.owner!r} was not opened")
        self.record = replace(record, at_ms=now_ms)
        while True:
            try:
                self._note = self._written(self._note, text(self.record))
            except ObjectTooLarge:
                if not self.record.history.revisions:
                    raise
                self.record = replace(self.record, history=self.record.history.shorter())
            else:
                return

    def _written(self, note: Note, said: str) -> Note:
        """What we wrote when the answer was lost is no other process."""
        try:
            written = self.target.write(note, said)
        except ObjectConflict:
            found = self.target.note(self.owner)
            if _digest(found.text) not in self._lost:
                raise LeaseLost(
                    f"another process is at work on deployment {self.owner!r} now; nothing more is touched from here"
                ) from None
            self._lost.remove(_digest(found.text))
            return self._written(found, said)
        except TargetUnreachable:
            self._lost.add(_digest(said))
            raise
        self._lost.clear()
        return written

    def beat(self, now: float, now_ms: int) -> None:
        """A sign of life, when it is time for one by either clock: ``now`` stands still while a machine sleeps.

        Raises LeaseLost.
        """
        if now - self._beat >= BEAT or now_ms - self.record.at_ms >= BEAT * 1000:
            self._beat = now
            self.write(self.record, now_ms)


def before(kept: Iterable[Before], seen: Iterable[tuple[Ref, Seen | None]]) -> tuple[Before, ...]:
    """What was there; what an interrupted deployment has ``kept`` counts more than what it left."""
    now = {ref.key: _before(one) if one else Before(ref) for ref, one in seen}
    return tuple({**now, **{one.ref.key: one for one in kept}}.values())


def _before(one: Seen) -> Before:
    return Before(one.ref, one.body, one.owner, tuple(dict(each) for each in one.managers))


def seen(one: Before) -> Seen:
    """As it was observed; where ``body`` is None it must not be asked."""
    return Seen(one.ref, one.body or {}, "", "", State.READY, owner=one.owner, managers=one.managers)


def text(record: Record) -> str:
    return msgspec.json.encode(record).decode()


def read(said: str) -> Record:
    """Raises TargetError for a note that is none of ours."""
    if not said:
        return Record()
    try:
        found: Record = msgspec.json.decode(said, type=Record)
    except msgspec.DecodeError as error:
        raise TargetError(
            f"what is remembered of this deployment cannot be read: {error}; it may be of another release"
        ) from None
    return found


def _digest(said: str) -> str:
    return hashlib.sha256(said.encode()).hexdigest()


def plain(ref: Ref) -> dict[str, Any]:
    """For `--json`."""
    return {"api": ref.api, "kind": ref.kind, "name": ref.name, "namespace": ref.namespace}
