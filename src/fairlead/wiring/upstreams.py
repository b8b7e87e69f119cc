"""An endpoint whose model runs on other servers, brought to life."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from fairlead.contracts.errors import Unavailable, UsageError
from fairlead.contracts.runtime import Traits
from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Signature
from fairlead.contracts.upstream import Place
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.secrets import secret
from fairlead.serve import tune
from fairlead.serve.endpoint import Placement
from fairlead.serve.executor import Elsewhere
from fairlead.serve.remote.balance import Balance
from fairlead.serve.remote.executor import RemoteExecutor
from fairlead.serve.remote.fleet import DESCRIBE_SECONDS, Fleet, Persistence
from fairlead.serve.remote.left_out import Member
from fairlead.serve.remote.settings import Upstream
from fairlead.serve.resilience.concurrency import Limiter
from fairlead.serve.settings import EndpointSettings
from fairlead.serve.tune import Curve
from fairlead.wiring.placing import LARGEST_BATCH, Placed

_SLACK = 5.0
"""Seconds that the event loop may be busy with other things."""


def refuse(settings: EndpointSettings) -> None:
    """Settings that all endpoints share, when none of them runs here. Raises UsageError for one without a meaning."""
    usual = EndpointSettings()
    for name in ("executor", "processes", "env", "threads", "providers", "replicas"):
        if getattr(settings, name) != getattr(usual, name):
            raise UsageError(f"{name} is decided by the servers that run the model, and none runs here; leave it out")


def placed(
    endpoint: str,
    upstream: Upstream,
    settings: EndpointSettings,
    meter: EndpointMeter,
    clock: SystemClock,
    loop: asyncio.AbstractEventLoop,
) -> Placed:
    """Ask the addresses what the model takes. From another thread than the loop's, which must run.

    Raises Unavailable, SourceNotFound, BrokenModel, or MissingExtra for a scheme whose library is not there.
    """
    remote = upstream.remote
    kinds = [plugins.load("fairlead.upstreams", one.scheme) for one in remote.addresses]
    first = place(upstream, clock)
    chance, outlying = random.Random(), upstream.outlying  # noqa: S311 - a draw
    balance = Balance(len(kinds), upstream.connections, upstream.failures, upstream.seconds, chance, outlying.most)
    how = Persistence(
        upstream.retries, upstream.backoff, upstream.budget, upstream.idempotent, upstream.hedge, outlying
    )

    async def opened() -> tuple[Fleet, Signature]:
        try:
            members = [
                Member(str(one), kind(replace(first, address=one)))
                for one, kind in zip(remote.addresses, kinds, strict=True)
            ]
        except OSError as error:  # of ssl too
            told = error.strerror or str(error)
            raise UsageError(f"upstream.ca {upstream.ca!r} of {endpoint!r}: {told}; give a PEM file") from None
        fleet = Fleet(endpoint, members, balance, how, meter=meter, clock=clock, chance=chance)
        try:
            return fleet, await fleet.open()
        except BaseException:
            fleet.close()
            raise

    asked = asyncio.run_coroutine_threadsafe(opened(), loop)
    try:
        fleet, signature = asked.result(DESCRIBE_SECONDS + _SLACK)
    except TimeoutError:
        asked.cancel()
        raise Unavailable(f"the addresses of {endpoint!r} could not be asked in time; start again") from None
    most = upstream.connections * len(kinds)
    limit = settings.max_rows or LARGEST_BATCH if signature.batched else 1
    return Placed(
        Elsewhere(
            signature,
            Traits(releases_gil=True, platform=fleet.platform or "fairlead_upstream"),
            RemoteExecutor(endpoint, fleet, clock=clock, loop=loop),
        ),
        Curve(),
        tune.decide(Curve(), limit, batched=signature.batched, chosen_rows=settings.max_rows),
        Placement(workers=most, limiter=Limiter(most) if settings.adaptive else None),
        tune.example(signature, None),
    )


def place(upstream: Upstream, clock: SystemClock) -> Place:
    """The first address, with what holds for all of them. Raises UsageError for a token that is nowhere."""
    remote = upstream.remote
    token = secret(upstream.token, clock) if upstream.token else None
    first = remote.addresses[0]
    return Place(
        first,
        remote.model,
        remote.version,
        upstream.ca,
        idempotent=upstream.idempotent,
        token=token,
        header=upstream.header,
    )
