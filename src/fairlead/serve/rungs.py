"""What may answer in the place of a model: a kept answer, a constant, another endpoint or version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.types import Reply, Signature, Tensors, Timing
from fairlead.kit.clock import Clock
from fairlead.serve.call import Call
from fairlead.serve.endpoint import Live
from fairlead.serve.resilience.answers import Answers, key_of
from fairlead.serve.resilience.constants import filled
from fairlead.serve.validate import validate

Answered = Callable[[Reply | FairleadError], None]
Cancel = Callable[[], None]
Misfit = Callable[[Signature], str]
"""Why a signature does not do, as the end of a sentence; empty where it does."""

_FITTING: Final = 16
"""Signatures that are known to do; more are looked at again."""


class Rung(Protocol):
    """One step of a ladder. ``name``: of the few that the spec says; it becomes a metric label."""

    @property
    def name(self) -> str: ...

    def ask(self, call: Call, now: float, answered: Answered) -> Cancel:
        """``answered`` is called once, maybe before this returns, or never after what is returned was called.

        Raises FairleadError where it cannot answer.
        """


@dataclass(frozen=True, slots=True)
class FromCache:
    """What the same version answered to the same call."""

    name: str
    endpoint: str
    version: str
    answers: Answers

    def ask(self, call: Call, now: float, answered: Answered) -> Cancel:
        outputs = self.answers.get(self._key(call), now)
        if outputs is None:
            raise Unavailable("this call was not answered lately")
        answered(Reply(outputs, self.endpoint, self.version, _at_once(call, now)))
        return _nothing

    def keep(self, call: Call, reply: Reply, now: float) -> None:
        """The model answered this."""
        self.answers.put(self._key(call), reply.outputs, now)

    def _key(self, call: Call) -> bytes:
        return key_of(call.inputs, call.parameters, self.version, _whom(call))


@dataclass(frozen=True, slots=True)
class FromConstant:
    """``row``: each output for one row."""

    name: str
    endpoint: str
    version: str
    row: Tensors
    batched: bool

    def ask(self, call: Call, now: float, answered: Answered) -> Cancel:
        outputs = filled(self.row, call.rows, self.batched)
        answered(Reply(outputs, self.endpoint, self.version, _at_once(call, now)))
        return _nothing


class FromAnother:
    """Another model. ``find``: the version of it that answers now.  ``misfit``: looked at once for each signature.

    ``gives``: outputs that are taken of it.
    """

    def __init__(
        self, name: str, endpoint: str, find: Callable[[], Live], misfit: Misfit, gives: tuple[str, ...], clock: Clock
    ) -> None:
        self.name = name
        self._endpoint, self._find, self._misfit, self._gives = endpoint, find, misfit, gives
        self._clock = clock
        self._fitting: list[Signature] = []

    def ask(self, call: Call, now: float, answered: Answered) -> Cancel:
        live = self._fitted()
        given = {spec.name: call.inputs[spec.name] for spec in live.signature.inputs if spec.name in call.inputs}

        def done(asked: Call) -> None:
            outcome, seconds = asked.outcome, self._clock.now() - now
            if isinstance(outcome, Reply):
                live.meter.answered(seconds, asked.rows, outcome.timing.queue, outcome.timing.compute)
                answered(self._own(outcome))
            elif outcome is not None:
                live.meter.failed(outcome.code, seconds)
                answered(outcome)

        asked = live.call(
            validate(given, live.signature), call.parameters, done,
            arrived=now, deadline=call.deadline, lane=call.lane,
        )  # fmt: skip
        asked.behalf = call.caller or call.behalf
        live.enter(asked)
        return lambda: live.cancel(asked)

    def _own(self, reply: Reply) -> Reply | FairleadError:
        """As if the endpoint itself had answered."""
        missing = [name for name in self._gives if name not in reply.outputs]
        if missing:
            return Unavailable(f"{self.name} gave no {missing[0]}")
        outputs = {name: reply.outputs[name] for name in self._gives} if self._gives else reply.outputs
        return Reply(outputs, self._endpoint, reply.version, reply.timing)

    def _fitted(self) -> Live:
        live = self._find()
        if not any(live.signature is one for one in self._fitting):
            if why := self._misfit(live.signature):
                raise Unavailable(f"version {live.version} of {live.endpoint!r} does not do as a fallback: {why}")
            self._fitting = [*self._fitting[-_FITTING:], live.signature]
        return live


def _whom(call: Call) -> str:
    """For whom it is answered: one tenant never gets what was kept for another."""
    caller = call.caller or call.behalf
    if caller is None:
        return ""
    return f"tenant {caller.tenant}" if caller.tenant else f"caller {caller.name}"


def _at_once(call: Call, now: float) -> Timing:
    return Timing(max(0.0, now - call.arrived), 0.0, call.rows)


def _nothing() -> None:
    """It has answered."""
