"""How things stand: what a running server answers, and what the state store says of its endpoints."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.plans import Happening, TrafficSplit
from fairlead.contracts.state import StateStore
from fairlead.kit.codec import records
from fairlead.kit.config import Home
from fairlead.kit.sentences import cause
from fairlead.monitor import timeline
from fairlead.wiring import stores, watching
from fairlead.wiring.presence import Presence

ALERTS = ("alert", "drift", "performance", "slo")
"""Lines of the timeline that tell of trouble."""

_SECONDS = 5.0
_LOOKED_BACK = 200
CONTROLLER = "controller"
"""The lease of the process that moves rollouts."""


@dataclass(frozen=True, slots=True)
class Answering:
    """What a server said. ``endpoints``: name, version and state of each.  ``problem``: why it said nothing."""

    ready: bool = False
    troubles: Sequence[str] = ()
    endpoints: Sequence[dict[str, str]] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Rolling:
    """The rollout of an endpoint, as far as people want to know it at a glance."""

    id: str
    phase: str
    champion: str
    candidate: str
    answer: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the state store says. ``splits`` and ``rollouts`` by endpoint.  ``controller``: who holds the lease.

    ``alerts``: the newest, oldest first.  ``problem``: why it says nothing.
    """

    splits: dict[str, TrafficSplit] = field(default_factory=dict)
    rollouts: dict[str, Rolling] = field(default_factory=dict)
    controller: str = ""
    alerts: Sequence[Happening] = ()
    problem: str = ""


def answering(server: Presence, transport: httpx.BaseTransport | None = None, key: str = "") -> Answering:
    """Ask the server itself. ``transport``: in place of the network.  ``key``: what is shown; empty for nothing."""
    if not server.url:
        return Answering(problem="it is not ready yet")
    try:
        trusted = trust(server.cert)
        shown = {"authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(
            base_url=server.url, verify=trusted, timeout=_SECONDS, transport=transport, headers=shown
        ) as client:
            ready = client.get("/readyz")
            index = client.post("/v2/repository/index")
            if index.status_code == 401:
                return Answering(ready.status_code == 200, problem="it does not know the key shown: FAIRLEAD_API_KEY")
            index.raise_for_status()
            return Answering(ready.status_code == 200, ready.json().get("troubles", ()), index.json())
    except (httpx.HTTPError, OSError, ValueError) as error:
        return Answering(problem=f"it does not answer at {server.url}: {cause(error)}")


def stored(home: Home, count: int) -> Stored:
    """``count``: of alerts, 0 for none. Opens the state store only where there is one."""
    database = home.state.removeprefix("sqlite:///")
    if not watching.has_state() or (database != home.state and not Path(database).exists()):
        return Stored()
    try:
        return told(stores.state(home), count)
    except FairleadError as error:
        return Stored(problem=str(error))


def told(store: StateStore, count: int) -> Stored:
    """The same of a store that is open."""
    lease = store.holder(CONTROLLER)
    splits = {one.key: records.from_body(TrafficSplit, one.body) for one in store.all("split")}
    rollouts = {}
    for claim in store.all("rollout-of"):
        document = store.get("rollout", claim.body["rollout"]) if claim.body.get("rollout") else None
        if document is not None:
            rollouts[claim.key] = _rolling(document.body)
    alerts = timeline.chosen(timeline.read(store, limit=_LOOKED_BACK), what=ALERTS) if count else []
    return Stored(splits, rollouts, lease.owner if lease else "", alerts[-count:])


def _rolling(body: dict[str, Any]) -> Rolling:
    """Of its stored form: the record itself stands on scipy."""
    plan = body.get("plan", {})
    return Rolling(
        body.get("id", ""),
        body.get("phase", ""),
        plan.get("champion", ""),
        plan.get("candidate", ""),
        body.get("answer", ""),
        body.get("reason", ""),
    )


def trust(cert: str) -> ssl.SSLContext | bool:
    """What the server's own certificate is trusted by: itself, whatever name it is for."""
    if not cert:
        return True
    trust = ssl.create_default_context(cafile=cert)
    trust.check_hostname = False  # we ask by address
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return trust
