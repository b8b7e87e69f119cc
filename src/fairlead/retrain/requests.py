"""Retrain requests in the state store: made, taken by one run, and brought to an end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fairlead.contracts.errors import Busy, LeaseLost, NotFound, Unavailable, UsageError
from fairlead.contracts.plans import RetrainRequest
from fairlead.contracts.state import Lease, StateStore
from fairlead.kit.codec.records import from_body, to_body

_KIND = "retrain"
DIED = "the process that ran it ended without a word"
"""``outcome`` of a request whose run was killed."""


def every(state: StateStore, endpoint: str = "") -> list[RetrainRequest]:
    """All requests, of one endpoint where it is named, oldest first."""
    found = [from_body(RetrainRequest, document.body) for document in state.all(_KIND)]
    return sorted((one for one in found if endpoint in ("", one.endpoint)), key=lambda one: one.at_ms)


def ask(state: StateStore, request: RetrainRequest, *, fence: Lease | None = None) -> RetrainRequest:
    """Store a new request. Raises Conflict when its id is taken."""
    state.put(_KIND, request.id, to_body(request), 0, fence=fence)
    return request


def find(state: StateStore, id_: str, endpoint: str) -> RetrainRequest:
    """An open request. Raises NotFound, or UsageError when it is another endpoint's or not open."""
    document = state.get(_KIND, id_)
    if document is None:
        raise NotFound(f"retrain request {id_!r} is not there")
    request = from_body(RetrainRequest, document.body)
    if request.endpoint != endpoint:
        raise UsageError(f"retrain request {id_!r} is of endpoint {request.endpoint!r} and not {endpoint!r}")
    if request.status != "open":
        raise UsageError(f"retrain request {id_!r} is {request.status}; only an open one can be run")
    return request


def moved(state: StateStore, request: RetrainRequest, *, fence: Lease | None = None, **to: Any) -> RetrainRequest:
    """Keep a request with other fields. Raises Conflict when somebody else did meanwhile, LeaseLost."""
    document = state.get(_KIND, request.id)
    after = replace(request, **to)
    state.put(_KIND, request.id, to_body(after), document.revision if document else 0, fence=fence)
    return after


def lease_of(endpoint: str) -> str:
    """The name of the lease that the run of an endpoint holds."""
    return f"retrain:{endpoint}"


class Hold:
    """A lease that is kept alive. ``lease``: as it is now."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.lost = False

    def check(self) -> None:
        """Raises LeaseLost when another process has it."""
        if self.lost:
            raise LeaseLost(f"another process holds the lease {self.lease.name!r} now; this run stops")


@contextmanager
def held(state: StateStore, endpoint: str, owner: str, seconds: float) -> Iterator[Hold]:
    """Hold the lease of the endpoint and extend it from a thread, every third of ``seconds``.

    Raises Busy when another run holds it. A run that is killed lets go ``seconds`` later at most.
    """
    name = lease_of(endpoint)
    lease = state.acquire(name, owner, seconds)
    if lease is None:
        raise Busy(f"a retraining of {endpoint!r} is under way already; wait for it, or look with fairlead timeline")
    hold, ended = Hold(lease), threading.Event()

    def extend() -> None:
        while not ended.wait(seconds / 3):
            # A store that does not answer is asked again; the lease lasts three times as long as the pause.
            with contextlib.suppress(Unavailable):
                again = state.acquire(name, owner, seconds)
                if again is None or again.token != hold.lease.token:
                    hold.lost = True
                    return
                hold.lease = again

    thread = threading.Thread(target=extend, name=name, daemon=True)
    thread.start()
    try:
        yield hold
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(Unavailable):
            state.release(hold.lease)
