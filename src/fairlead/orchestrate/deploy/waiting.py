"""Patience with a target: until objects are ready, and while it does not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from fairlead.contracts.errors import Cancelled, FairleadError, NotReady, TargetUnreachable
from fairlead.contracts.target import Ref, State, Target
from fairlead.kit.clock import Clock

POLL: Final = 1.0
"""Seconds between two looks at what is not ready, and until what got no answer is asked again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``sleep``: waits seconds.  ``tell``: gets each line of progress.  ``stopped``: whether somebody wants an end.

    ``holder``: tells this process from all others.  ``who``: whose it is, for people.
    """

    clock: Clock
    sleep: Callable[[float], None]
    tell: Callable[[str], None]
    stopped: Callable[[], bool]
    holder: str
    who: str = ""


@dataclass(slots=True)
class Waiting:
    """``beat``: gives a sign of life."""

    target: Target
    around: Surroundings
    beat: Callable[[], None]
    _told: dict[Ref, str] = field(default_factory=dict)

    def asked(self, call: Callable[[], T], ends: float, *, stoppable: bool = True) -> T:
        """What changes nothing twice is asked until there is an answer, or ``ends``, the clock's time, has come."""
        said = ""
        while True:
            if stoppable and self.around.stopped():
                raise Cancelled("stopped")
            try:
                return call()
            except TargetUnreachable as error:
                if self.around.clock.now() >= ends:
                    raise
                if str(error) != said:
                    self.around.tell(f"asked again: {error}")
                said = str(error)
                self.around.sleep(POLL)

    def wait(
        self,
        refs: Sequence[Ref],
        timeout: float,
        again: Callable[[Ref], None] | None = None,
        began: float | None = None,
    ) -> None:
        """Until all are ready. What cannot be looked at is waited for: nothing moves because a line is down.

        ``again``: makes an object that is gone, once.  ``began``: the clock's time from which ``timeout``, seconds,
        counts; None: now. Raises NotReady for what fails, is gone, or takes longer, Cancelled when somebody stops it,
        and what ``beat`` raises.
        """
        clock = self.around.clock
        ends = (clock.now() if began is None else began) + timeout
        waiting, made = dict.fromkeys(refs, "not looked at yet"), set[Ref]()
        while True:
            for ref in list(waiting):
                self._go_on(waiting, ends, timeout)
                state, why = self._look(ref)
                if state is None and again is not None and ref not in made:
                    made.add(ref)
                    again(ref)
                    self.around.tell(f"made again {ref}: {why}")
                    continue
                if state is State.READY:
                    del waiting[ref]
                else:
                    waiting[ref] = why
                self._progress(ref, state or State.FAILED, why)
                if state in (None, State.FAILED):
                    raise NotReady(f"{ref}: {why}")
            if not waiting:
                return
            self._go_on(waiting, ends, timeout)
            self.around.sleep(min(POLL, max(ends - clock.now(), 0.0)))

    def settle(self, refs: Sequence[Ref], timeout: float) -> None:
        """Give what was put back its time; that it takes longer is told and no second failure."""
        if self.around.stopped():
            return
        try:
            self.wait(refs, timeout)
        except FairleadError as error:
            self.around.tell(f"what was put back is {error}")

    def _go_on(self, waiting: Mapping[Ref, str], ends: float, timeout: float) -> None:
        """Asked before every look: one may take as long as a target that does not answer has."""
        if self.around.stopped():
            raise Cancelled("stopped")
        if self.around.clock.now() >= ends:
            listed = "; ".join(f"{ref}: {why}" for ref, why in waiting.items())
            raise NotReady(f"not ready after {timeout:g} s: {listed}")
        self.beat()

    def _look(self, ref: Ref) -> tuple[State | None, str]:
        """None: it is not there."""
        try:
            seen = self.target.observe(ref)
        except TargetUnreachable as error:
            return State.WAITING, str(error)
        return (seen.state, seen.why) if seen else (None, "somebody removed it meanwhile")

    def _progress(self, ref: Ref, state: State, why: str) -> None:
        said = f"{state.value:<8} {ref}{f': {why}' if why else ''}"
        if self._told.get(ref) != said:
            self._told[ref] = said
            self.around.tell(said)
