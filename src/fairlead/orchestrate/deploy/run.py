"""Carry a deployment out: apply in order, wait until all is ready, put back what was there when that does not come.

A thin loop over a ``Target``. Whatever ends it, the journal at the target says what was there before; a process that is
killed leaves that to ``rollback`` or to the next deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.contracts.errors import Cancelled, FairleadError, LeaseLost, NotReady, TargetUnreachable, UsageError
from fairlead.contracts.target import Body, Change, Difference, Ref, Seen, State, Target
from fairlead.kit.clock import Clock
from fairlead.orchestrate.deploy import journal, planning
from fairlead.orchestrate.deploy.journal import Journal, Record
from fairlead.orchestrate.deploy.objects import BASES
from fairlead.orchestrate.deploy.planning import KEPT, Plan

POLL: Final = 1.0
"""Seconds between two looks at what is not ready."""


@dataclass(frozen=True, slots=True)
class Asked:
    """``owner``: the deployment's name.  ``timeout``: seconds until all must be ready.  ``prune``: take away what it
    made and is no longer wanted.  ``adopt``: take over what somebody else made."""

    owner: str
    timeout: float = 300.0
    prune: bool = False
    adopt: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``sleep``: waits seconds.  ``tell``: gets each line of progress.  ``stopped``: whether somebody wants an end."""

    clock: Clock
    sleep: Callable[[float], None]
    tell: Callable[[str], None]
    stopped: Callable[[], bool]
    holder: str


@dataclass(frozen=True, slots=True)
class Outcome:
    changed: tuple[Difference, ...]
    pruned: tuple[Ref, ...]
    seconds: float


@dataclass(slots=True)
class Deployment:
    target: Target
    asked: Asked
    around: Surroundings
    _journal: Journal = field(init=False)
    _told: dict[Ref, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._journal = Journal(self.target, self.asked.owner, self.around.holder)

    def plan(self, bodies: Sequence[Body]) -> Plan:
        """What would change; nothing does. Raises Busy, and what ``planning.planned`` raises."""
        record = self._journal.open(self.around.clock.wall_ms())
        if self._journal.interrupted:
            self.around.tell(
                f"{self._journal.interrupted} was interrupted; what was there before it is kept to go back to"
            )
        return planning.planned(self.target, bodies, self.asked.owner, record, adopt=self.asked.adopt)

    def run(self, plan: Plan) -> Outcome:
        """Raises NotReady when not all came to be ready, with what was done about it; LeaseLost when another process
        took over: then nothing is touched any more."""
        record, began = self._journal.record, self.around.clock.now()
        refs = [one.ref for one in plan.differences]
        kept = {one.ref: one for one in record.before}
        was = journal.before(kept, ((one.ref, one.before) for one in plan.changed))
        made = tuple(dict.fromkeys((*record.made, *refs)))
        self._write(Record(made, was, self.around.holder))
        try:
            for one, body in zip(plan.differences, plan.bodies, strict=True):
                if one.change is not Change.SAME:
                    self._apply(one, body)
            self._wait(refs, self.asked.timeout)
        except LeaseLost:
            raise
        except FairleadError as error:
            raise self._back(error, record.made) from error
        pruned = tuple(self._pruned(plan.gone)) if self.asked.prune else ()
        self._write(Record(tuple(ref for ref in made if ref not in pruned)))
        return Outcome(tuple(plan.changed), pruned, self.around.clock.now() - began)

    def rollback(self) -> list[Ref]:
        """Put back what was there before a deployment that was interrupted. Raises UsageError when none was."""
        record = self._journal.open(self.around.clock.wall_ms())
        if not record.before:
            raise UsageError(f"deployment {self.asked.owner!r} was not interrupted; there is nothing to go back to")
        self._write(Record(record.made, record.before, self.around.holder))
        failed = self._undo()
        if failed:
            raise NotReady(self._left(failed))
        return [one.ref for one in record.before]

    def _apply(self, one: Difference, body: Body) -> None:
        if self.around.stopped():
            raise Cancelled("stopped")
        self.target.apply(body, self.asked.owner)
        self.around.tell(f"{'created' if one.change is Change.CREATE else 'updated'}  {one.ref}")
        self._beat()
        if one.ref.kind in BASES:
            self._wait([one.ref], self.asked.timeout)

    def _wait(self, refs: Sequence[Ref], timeout: float) -> None:
        """Until all are ready. What cannot be looked at is waited for: nothing moves because a line is down."""
        clock, ends = self.around.clock, self.around.clock.now() + timeout
        waiting = dict.fromkeys(refs, "not looked at yet")
        while True:
            for ref in list(waiting):
                state, why = self._look(ref)
                if state is State.FAILED:
                    raise NotReady(f"{ref}: {why}")
                if state is State.READY:
                    del waiting[ref]
                else:
                    waiting[ref] = why
                self._progress(ref, state, why)
            if not waiting:
                return
            if self.around.stopped():
                raise Cancelled("stopped")
            if clock.now() >= ends:
                listed = "; ".join(f"{ref}: {why}" for ref, why in waiting.items())
                raise NotReady(f"not ready after {timeout:g} s: {listed}")
            self._beat()
            self.around.sleep(min(POLL, max(ends - clock.now(), 0.0)))

    def _look(self, ref: Ref) -> tuple[State, str]:
        try:
            seen = self.target.observe(ref)
        except TargetUnreachable as error:
            return State.WAITING, str(error)
        return (seen.state, seen.why) if seen else (State.WAITING, "it is gone")

    def _progress(self, ref: Ref, state: State, why: str) -> None:
        said = f"{state.value:<8} {ref}{f': {why}' if why else ''}"
        if self._told.get(ref) != said:
            self._told[ref] = said
            self.around.tell(said)

    def _beat(self) -> None:
        try:
            self._journal.beat(self.around.clock.now(), self.around.clock.wall_ms())
        except TargetUnreachable as error:
            self.around.tell(f"no sign of life could be written: {error}")

    def _write(self, record: Record) -> None:
        self._journal.write(record, self.around.clock.wall_ms())

    def _back(self, error: FairleadError, made: tuple[Ref, ...]) -> FairleadError:
        """Undo all; the error to raise. Raises LeaseLost."""
        if not self._journal.record.before:
            self._write(Record(made))
            return NotReady(f"{error}; nothing had been changed")
        self.around.tell(f"rolling back: {error}")
        failed = self._undo()
        if failed:
            return NotReady(f"{error}; {self._left(failed)}")
        return NotReady(f"{error}; rolled back to what was there")

    def _undo(self) -> dict[Ref, str]:
        """In the opposite order. What could not be put back, and why; then the journal keeps what was there."""
        record, failed, back = self._journal.record, dict[Ref, str](), []
        for one in reversed(record.before):
            try:
                now = self.target.observe(one.ref)
                if one.body is not None:
                    self.target.restore(journal.seen(one))
                    back.append(one.ref)
                elif now is not None and now.owner == self.asked.owner and now.ref.kind not in KEPT:
                    self.target.remove(now)
                self.around.tell(f"restored {one.ref}" if one.body is not None else f"removed  {one.ref}")
                self._beat()
            except LeaseLost:
                raise
            except FairleadError as error:
                failed[one.ref] = str(error)
        if not failed:
            fresh = {one.ref for one in record.before if one.body is None and one.ref.kind not in KEPT}
            self._write(Record(tuple(ref for ref in record.made if ref not in fresh)))
            self._settle(back)
        return failed

    def _settle(self, refs: Sequence[Ref]) -> None:
        """Give what was put back its time; that it takes longer is told and no second failure."""
        if self.around.stopped():
            return
        try:
            self._wait(refs, self.asked.timeout)
        except FairleadError as error:
            self.around.tell(f"what was put back is {error}")

    def _left(self, failed: dict[Ref, str]) -> str:
        left = "; ".join(f"{ref}: {why}" for ref, why in failed.items())
        return f"not rolled back: {left}; `fairlead deploy --rollback --name {self.asked.owner}` tries again"

    def _pruned(self, gone: Sequence[Ref]) -> list[Ref]:
        """Only what is still ours, and of a kind in which nobody keeps anything."""
        found = []
        for ref in gone:
            if ref.kind in KEPT:
                continue
            seen: Seen | None = self.target.observe(ref)
            if seen is not None and seen.owner == self.asked.owner:
                self.target.remove(seen)
                self.around.tell(f"removed  {ref}")
            found.append(ref)
        return found
