"""Plugin contract: a sink takes measurements of the request path. Entry-point group ``fairlead.sinks``.

Called on the event loop for every call: it must not block, raise or keep a reference to its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fairlead.contracts.answered import ChatMeter
from fairlead.contracts.figures import Look
from fairlead.contracts.guardrail import GuardMeter


class EndpointMeter(Protocol):
    """Measures one version of one endpoint; made once, so that a call costs no label look-up."""

    def answered(self, seconds: float, rows: int, queue: float, compute: float) -> None:
        """One call ended with a reply. ``seconds``: from arrival at the edge to the reply."""

    def failed(self, code: str, seconds: float) -> None:
        """One call ended with the error ``code`` (``contracts.errors``)."""

    def batch(self, rows: int, calls: int, seconds: float) -> None:
        """One batch ran."""

    def queue(self, rows: int, calls: int) -> None:
        """How much waits now."""

    def pressure(self, wait: float, limit: int) -> None:
        """How long a call of lane standard would wait now, seconds, and how many batches may run at once."""

    def shed(self, reason: str, lane: str) -> None:
        """One call was refused because too many came: ``deadline`` (it could not be in time), ``delay`` (a queue
        stands), ``queue_full`` or ``displaced`` (a more urgent one took its place). It has ended as ``failed``, too.
        """

    def processes(self, live: int, resident: int) -> None:
        """How many processes of its own run the model now, and the bytes of memory that they have together."""

    def replaced(self, reason: str) -> None:
        """One of these ended unasked, ``crashed`` or ``hung``, and another is started in its place."""

    def upstream(self, address: str, in_flight: int, out: bool) -> None:
        """How many requests the model has now at this address of another server, and whether it is left out."""

    def upstream_asked(self, address: str, outcome: str) -> None:
        """A request there ended: ``ok``, ``invalid`` (input), ``failed`` (model), ``refused`` (full), ``garbled``,
        ``unreached``, ``timeout`` or ``cancelled``.
        """

    def ejected(self, address: str, reason: str) -> None:
        """This address is left out from now on: ``failures`` in a row, ``errors`` or ``slow`` answers lately,
        ``unwell`` when it was asked how it is, or ``other_model``.
        """

    def retry(self, outcome: str) -> None:
        """A call could be tried again: it was ``sent``, or was not for ``budget`` or ``deadline``."""

    def hedge(self, outcome: str) -> None:
        """A second request could help: it was ``sent``, or was not for ``budget``; one that was sent ``won``."""

    def wanted(self, replicas: int) -> None:
        """How many replicas there should be now; 0: the model sleeps."""

    def woke(self, seconds: float) -> None:
        """The first call after a sleep waited so long until a replica was there."""

    def step(self, step: str, code: str, seconds: float) -> None:
        """One step of a graph ended: ``code`` is ok, else why it has no answer, or a fallback's."""

    def fell_back(self, rung: str, code: str) -> None:
        """A fallback of the endpoint answered: which one, and the error that it stood in for."""

    def breaker(self, state: str) -> None:
        """The breaker is ``closed``, ``open`` or ``half_open`` from now on."""


class WorkersMeter(Protocol):
    """Measures the worker processes of one server; kept by their supervisor."""

    def live(self, workers: int) -> None:
        """How many answer now."""

    def restarted(self, reason: str) -> None:
        """One was started in the place of another: ``crashed`` or ``rolled``."""

    def silent(self, worker: str) -> None:
        """One did not say in time what it measured, so that it was counted as it last said."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one process measured: ``text`` as ``render`` or ``merge`` gave it there.

    ``worker``: its name, for what cannot be added up.  ``gone``: it has ended, so that only what was counted holds.
    """

    worker: str
    text: bytes
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a stream worker did, and how it stands.

    ``received``: messages taken in.  ``redelivered``: those that had come before.  ``retried``: tries after the first.
    ``broker_away``: how often a broker went away.  ``lag``: None while the broker does not say.
    ``within``: seconds, rising, each with how many answers took no longer; ``seconds``: of all answers together.
    """

    received: int
    answered: int
    dead_lettered: int
    redelivered: int
    retried: int
    broker_away: int
    in_flight: int
    lag: int | None
    within: Sequence[tuple[float, int]]
    seconds: float


class Sink(Protocol):
    def endpoint(self, endpoint: str, version: str) -> EndpointMeter: ...

    def chat(self, endpoint: str) -> ChatMeter:
        """The meter of a language model; the same one each time."""

    def guards(self, endpoint: str) -> GuardMeter:
        """The meter of a language model's guardrails; the same one each time."""

    def workers(self) -> WorkersMeter:
        """The meter of this server's workers; the same one each time."""

    def edge_error(self, route: str, code: str) -> None:
        """A request that failed before it had an endpoint; ``route`` is the pattern, not the path."""

    def ready(self, endpoint: str, version: str, ready: bool) -> None: ...

    def stalled(self, seconds: float) -> None:
        """A timer of the event loop fired so much too late; told some fifty times a second."""

    def events(self, recorder: str, kept: int, dropped: int) -> None:
        """Prediction events that a recorder took, and those that were dropped before it could. From any thread."""

    def injected(self, endpoint: str, kind: str, calls: int) -> None:
        """Faults of this kind (``slow``, ``error``, ...) were injected on purpose into so many calls of an endpoint."""

    def degraded(self, part: str, down: bool) -> None:
        """Whether something beside serving (``events``, ``windows``, ``splits``) does not work now. From any thread."""

    def limited(self, endpoint: str, scope: str, limit: str) -> None:
        """A call was over a limit. ``endpoint``: empty for what belongs to none.

        ``scope``: whose limit, ``key``, ``tenant``, ``endpoint`` or ``caller`` (a key at one endpoint).
        ``limit``: which, ``requests``, ``rows``, ``bytes``, ``tokens``, ``quota`` or ``concurrency``.
        """

    def shared_limits(self, counted: str, calls: int) -> None:
        """So many calls were ``asked`` about of the store that servers share, or decided ``alone`` without it."""

    def spent(self, endpoint: str, tokens: int, cost: int, currency: str) -> None:
        """An answer was paid for. ``cost``: nano-units; ``currency``: empty where nobody has to be paid."""

    def over_budget(self, endpoint: str, reason: str) -> None:
        """An answer was refused: ``money`` or ``tokens`` of a budget do not pay for it, the model has no ``price``, or
        budgets cannot be counted now (``down``).
        """

    def budget(self, budget: str, currency: str, amount: int, settled: int, reserved: int) -> None:
        """How a budget of the spec stands in its window: nano-units, or tokens where ``currency`` is empty."""

    def stream(self, endpoint: str, group: str, look: Callable[[], Streamed]) -> None:
        """A stream worker begins; ``look`` is called whenever somebody wants to know how it stands."""

    def certificate(self, until: float) -> None:
        """The TLS certificate that new connections get ends then, seconds since 1970. From any thread."""

    def figures(self, owner: str, look: Look) -> None:
        """``look`` is called whenever somebody wants to know; it takes the place of an earlier one of this owner.

        A counter never falls. Of several workers everything is added up, but for gauges of which the sink knows better.
        """

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""

    def merge(self, parts: Sequence[Part]) -> bytes:
        """One exposition for several processes: what was counted is added up, of those that are gone too."""
