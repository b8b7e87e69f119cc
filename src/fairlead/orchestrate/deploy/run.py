"""Carry a deployment out: apply in order, wait until all is ready, put back what was there when that does not come.

A thin loop over a ``Target``. Whatever ends it, the journal at the target says what was there before; a process that is
killed leaves that to ``undo`` or to the next deployment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from fairlead.contracts.errors import (
    Busy,
    FairleadError,
    LeaseLost,
    NotReady,
    ObjectConflict,
    TargetError,
    TargetUnreachable,
    UsageError,
)
from fairlead.contracts.target import Body, Change, Difference, Ref, Seen, Target
from fairlead.orchestrate.deploy import history, journal, planning
from fairlead.orchestrate.deploy.history import History, Revision
from fairlead.orchestrate.deploy.journal import Journal, Record
from fairlead.orchestrate.deploy.objects import BASES
from fairlead.orchestrate.deploy.planning import KEPT, Plan
from fairlead.orchestrate.deploy.waiting import Surroundings, Waiting

TIMEOUT: Final = 600.0
"""Seconds, as long as a pod may take to start."""
PATIENCE: Final = 60.0
"""Seconds in which a target that does not answer is asked again: to put back what was there, and to remember."""


@dataclass(frozen=True, slots=True)
class Asked:
    """``owner``: the deployment's name.  ``timeout``: seconds until all must be ready.  ``prune``: take away what it
    made and is no longer wanted.  ``adopt``: take over what somebody else made or set.  ``where``: options of the
    command that lead to the same target.  ``looks``: nothing is to be changed, whoever else is at work."""

    owner: str
    timeout: float = TIMEOUT
    prune: bool = False
    adopt: bool = False
    where: str = ""
    looks: bool = False

    @property
    def undoing(self) -> str:
        """The command that undoes it."""
        return f"fairlead deploy --rollback --name {self.owner}{f' {self.where}' if self.where else ''}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``revision``: the number of this deployment among the good ones.  ``digest``: of its objects."""

    changed: tuple[Difference, ...]
    pruned: tuple[Ref, ...]
    seconds: float
    revision: int
    digest: str


@dataclass(slots=True)
class Deployment:
    target: Target
    asked: Asked
    around: Surroundings
    _journal: Journal = field(init=False)
    _waiting: Waiting = field(init=False)
    _applied: set[str] = field(default_factory=set)
    """Ids of the objects that are wanted."""
    _began: float = 0.0

    def __post_init__(self) -> None:
        self._journal = Journal(self.target, self.asked.owner, self.around.holder)
        self._waiting = Waiting(self.target, self.around, self._beat)

    def open(self) -> Record:
        """What is remembered of it. Raises Busy."""
        record = self._journal.open(self.around.clock.wall_ms(), looks=self.asked.looks)
        if self._journal.interrupted and not self.asked.looks:
            self.around.tell(
                f"{self._journal.interrupted} was interrupted; what was there before it is kept to go back to"
            )
        return record

    def plan(self, bodies: Sequence[Body]) -> Plan:
        """What would change; nothing does. Raises Busy, and what ``planning.planned`` raises."""
        return planning.planned(self.target, bodies, self.asked.owner, self.open(), adopt=self.asked.adopt)

    def earlier(self, number: int = 0) -> tuple[Revision, Plan]:
        """What going back to a good deployment would change; 0: to the one before the last.

        What came after it goes, what was there then and is none of its objects stays. Raises UsageError for a number
        that is not kept, and what ``plan`` raises.
        """
        record = self.open()
        revision, bodies = record.history.chosen(self.asked.owner, number)
        plan = planning.planned(self.target, bodies, self.asked.owner, record, adopt=self.asked.adopt)
        then = {ref.key for ref in revision.made}
        return revision, replace(plan, gone=tuple(ref for ref in plan.gone if ref.key not in then))

    def run(self, plan: Plan, back_to: int = 0) -> Outcome:
        """Raises NotReady when not all came to be ready, with what was done about it; Busy when another process began
        meanwhile, LeaseLost when one took over: then nothing is touched any more.

        ``back_to``: the number of the deployment that this goes back to.
        """
        record, self._began = self._journal.record, self.around.clock.now()
        refs = [one.ref for one in plan.differences]
        was = journal.before(record.before, ((one.ref, one.before) for one in plan.changed))
        made = tuple({ref.key: ref for ref in (*record.made, *refs)}.values())
        self._applied |= {one.before.id for one in plan.differences if one.before}
        self._begin(replace(record, made=made, before=was, holder=self.around.holder))
        wanted = {one.ref: (one, body) for one, body in zip(plan.differences, plan.bodies, strict=True)}
        try:
            for one in plan.changed:
                self._apply(*wanted[one.ref])
            self._waiting.wait(refs, self.asked.timeout, lambda ref: self._make(*wanted[ref]), self._began)
        except LeaseLost:
            raise
        except FairleadError as error:
            raise self._back(error, record.made) from error
        going = tuple(ref for ref in plan.gone if self.asked.prune and ref.kind not in KEPT)
        good, kept_good = _good(self.around, record, plan, _without(made, going), back_to)
        if going:  # it is a good one: who is killed from here on has nothing to put back
            self._write(Record(made, holder=self.around.holder, history=kept_good))
        pruned, failed = self._pruned(going)
        made = _without(made, pruned)
        good, kept_good = _good(self.around, record, plan, made, back_to)
        self._write(Record(made, history=kept_good))
        if failed:
            raise TargetError(f"all is ready, and not removed: {_listed(failed)}; deploy again with --prune")
        number = kept_good.revisions[-1].number
        return Outcome(tuple(plan.changed), pruned, self.around.clock.now() - self._began, number, good.digest)

    @property
    def interrupted(self) -> bool:
        """Whether there is something to undo, once it was opened."""
        return bool(self._journal.record.before)

    def undo(self) -> list[Ref]:
        """Put back what was there before a deployment that was interrupted, once it was opened."""
        record = self._journal.record
        if not record.before:
            raise UsageError(f"deployment {self.asked.owner!r} was not interrupted; there is nothing to undo")
        self._begin(replace(record, holder=self.around.holder))
        failed = self._undo()
        if failed:
            raise NotReady(_left(failed, self.asked))
        return [one.ref for one in record.before]

    def _begin(self, record: Record) -> None:
        try:
            self._write(record)
        except LeaseLost:
            raise Busy(
                f"deployment {self.asked.owner!r} was begun by another process while this one planned; nothing was "
                "changed from here; deploy again when that has ended"
            ) from None

    def _apply(self, one: Difference, body: Body) -> None:
        self._make(one, body)
        self.around.tell(f"{'created' if one.change is Change.CREATE else 'updated'}  {one.ref}")
        if one.ref.kind in BASES:
            self._waiting.wait([one.ref], self.asked.timeout, began=self._began)

    def _make(self, one: Difference, body: Body) -> None:
        self._beat()
        ends = self._began + self.asked.timeout
        self._applied.add(self._waiting.asked(lambda: _made(self.target, one, body, self.asked), ends).id)

    def _beat(self) -> None:
        """Before each step: who slept meanwhile, and was taken for killed, touches nothing more."""
        try:
            self._journal.beat(self.around.clock.now(), self.around.clock.wall_ms())
        except TargetError as error:
            self.around.tell(f"no sign of life could be written: {error}")

    def _write(self, record: Record) -> None:
        """What is remembered must be: it is tried for a while."""
        ends = self.around.clock.now() + PATIENCE
        write = self._journal.write
        self._waiting.asked(lambda: write(record, self.around.clock.wall_ms()), ends, stoppable=False)

    def _back(self, error: FairleadError, made: tuple[Ref, ...]) -> FairleadError:
        """Undo all; the error to raise. Raises LeaseLost."""
        record = self._journal.record
        if not record.before:
            self._write(replace(record, made=made, holder=""))
            return NotReady(f"{error}; nothing had been changed")
        self.around.tell(f"rolling back: {error}")
        try:
            failed = self._undo()
        except LeaseLost:
            raise
        except TargetError as lost:
            return NotReady(
                f"{error}; rolled back to what was there, and that could not be remembered: {lost}; "
                f"`{self.asked.undoing}` does"
            )
        if failed:
            return NotReady(f"{error}; {_left(failed, self.asked)}")
        return NotReady(f"{error}; rolled back to what was there")

    def _undo(self) -> dict[Ref, str]:
        """In the opposite order, until it is silent for a minute. What could not be put back, and why; then the journal
        keeps what was there."""
        record, failed, back = self._journal.record, dict[Ref, str](), []
        ends = self.around.clock.now() + PATIENCE
        silent = False
        for one in reversed(record.before):
            if silent:
                failed[one.ref] = "not tried"
                continue
            try:
                self._beat()
                put_back = partial(_put_back, self.target, one, self.asked.owner)
                self._waiting.asked(put_back, ends, stoppable=False)
                back += [one.ref] if one.body is not None else []
                self.around.tell(f"restored {one.ref}" if one.body is not None else f"removed  {one.ref}")
            except LeaseLost:
                raise
            except FairleadError as error:
                failed[one.ref] = str(error)
                silent = isinstance(error, TargetUnreachable)  # it had its minute
        if failed:
            self._let_go()
        else:
            fresh = {one.ref.key for one in record.before if one.body is None and one.ref.kind not in KEPT}
            made = tuple(ref for ref in record.made if ref.key not in fresh)
            self._write(Record(made, history=record.history))
            self._waiting.settle(back, self.asked.timeout)
        return failed

    def _let_go(self) -> None:
        """So that who undoes the rest need not wait until this one counts as killed."""
        try:
            self._journal.write(replace(self._journal.record, holder=""), self.around.clock.wall_ms())
        except TargetError as error:
            self.around.tell(f"what is left to undo can be undone in a minute: {error}")

    def _pruned(self, gone: Sequence[Ref]) -> tuple[tuple[Ref, ...], dict[Ref, str]]:
        """Only what is still ours; and what could not be, and why."""
        found, failed = [], dict[Ref, str]()
        for ref in gone:
            try:
                self._beat()
                seen = self.target.observe(ref)
                if seen is not None and seen.owner == self.asked.owner and seen.id not in self._applied:
                    self.target.remove(seen)
                    self.around.tell(f"removed  {ref}")
                found.append(ref)
            except LeaseLost:
                raise
            except FairleadError as error:
                failed[ref] = str(error)
        return tuple(found), failed


def _good(
    around: Surroundings, record: Record, plan: Plan, made: tuple[Ref, ...], back_to: int
) -> tuple[Revision, History]:
    """This deployment as a good one, and all of them with it."""
    good = history.revision(record.history, plan.bodies, made, around.who, around.clock.wall_ms())
    good = replace(good, back_to=back_to)
    return good, record.history.added(good, plan.bodies)


def _made(target: Target, one: Difference, body: Body, asked: Asked) -> Seen:
    """Applying overrules others. Raises ObjectConflict for what became somebody else's since it was compared."""
    now = target.observe(one.ref)
    known = (asked.owner, one.before.owner if one.before else asked.owner)
    if now is not None and now.owner not in known and not asked.adopt:
        who = f"deployment {now.owner}" if now.owner else "somebody else"
        raise ObjectConflict(f"{one.ref}: made by {who} meanwhile, not by deployment {asked.owner!r}")
    return target.apply(body, asked.owner)


def _put_back(target: Target, one: journal.Before, owner: str) -> None:
    """Raises ObjectConflict for an object that is by now of neither this deployment nor whose it was."""
    now = target.observe(one.ref)
    if one.body is None:
        if now is not None and now.owner == owner and now.ref.kind not in KEPT:
            target.remove(now)
        return
    if now is not None and now.owner not in (owner, one.owner):
        raise ObjectConflict(
            f"deployment {now.owner!r} has taken it over" if now.owner else "somebody has taken it over"
        )
    target.restore(journal.seen(one))


def _left(failed: dict[Ref, str], asked: Asked) -> str:
    return f"not rolled back: {_listed(failed)}; `{asked.undoing}` tries again"


def _without(refs: tuple[Ref, ...], gone: Sequence[Ref]) -> tuple[Ref, ...]:
    return tuple(ref for ref in refs if ref not in gone)


def _listed(failed: dict[Ref, str]) -> str:
    return "; ".join(f"{ref}: {why}" for ref, why in failed.items())
