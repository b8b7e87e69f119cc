"""Keeps an endpoint's versions as the state store says: load what a split names, share the traffic, let the rest go.

A thin loop beside the server. When the store does not answer, everything stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.contracts.sink import Sink
from fairlead.kit.clock import Clock
from fairlead.kit.threads import Threads
from fairlead.serve.call import NEVER
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live
from fairlead.serve.leaving import let_go
from fairlead.serve.recording import Recording
from fairlead.serve.split import Shadow, Split, of_arm

log = logging.getLogger("fairlead.serve")

POLL_SECONDS: Final = 0.4
"""A changed split reaches every worker within a second."""

RETRY_SECONDS: Final = 5.0
"""Until a split that could not be applied is tried again; a newer one is tried at once."""


SILENT: Final = 5.0
"""Seconds without an answer of the store after which that is a trouble."""


@dataclass(frozen=True, slots=True)
class Following:
    """One endpoint that follows the store.

    ``read`` gives the split with its revision, or None; ``load`` brings a version to life.  Both block.
    ``tell`` says what was applied, or why it was not.  ``arm``: the one that this server answers for, behind a route
    that shares the calls out; empty: it shares them out itself.
    """

    endpoint: str
    read: Callable[[], tuple[int, TrafficSplit] | None]
    load: Callable[[str, asyncio.AbstractEventLoop], Live]
    tell: Callable[[Mapping[str, Any]], None]
    arm: str = ""


class Follower:
    """Polls, loads, applies. ``start`` once every endpoint is live."""

    def __init__(
        self, following: Sequence[Following], catalog: Catalog, recording: Recording, sink: Sink, clock: Clock
    ) -> None:
        self._sink = sink
        self._following = following
        self._catalog = catalog
        self._recording = recording
        self._clock = clock
        self._seen: dict[str, int] = {}
        self._again: dict[str, float] = {}
        """When to try again, by endpoint."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble: dict[str, str] = {}
        self._untold: dict[str, Mapping[str, Any]] = {}
        self._unapplied: dict[str, str] = {}
        """Why the newest split of an endpoint was not applied."""

    def start(self) -> None:
        for one in self._following:
            self._keep(self._follow(one))

    def drain(self) -> None:
        """What is answered until the end counts too."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close_split(self, endpoint: str) -> None:
        """Share the calls of an endpoint no more: it is unloaded."""
        before = self._catalog.splits.pop(endpoint, None)
        if before is not None:
            before.close(self._recording)

    def troubles(self) -> list[str]:
        told = [*self._trouble.items(), *self._unapplied.items()]
        return [f"endpoint {name!r} stays as it is: {why}" for name, why in told]

    async def _follow(self, one: Following) -> None:
        thread = Threads(1, f"fairlead-split-{one.endpoint}")  # a store that hangs holds up this one only
        try:
            await self._follow_by(one, thread)
        finally:
            thread.close()

    async def _asked(self, endpoint: str, reading: asyncio.Future[Any]) -> Any:
        """What the store says; that it says nothing for long is a trouble meanwhile."""
        done, _ = await asyncio.wait((reading,), timeout=SILENT)
        if not done:
            self._trouble[endpoint] = f"the state store has not answered for over {SILENT:g} seconds"
            self._look()
        return await reading

    def _look(self) -> None:
        """Say to the metrics whether all follow."""
        self._sink.degraded("splits", bool(self._trouble or self._unapplied))

    async def _follow_by(self, one: Following, thread: Threads) -> None:
        while True:
            if one.endpoint in self._catalog.unloaded:
                self._seen.pop(one.endpoint, None)  # once it is loaded, as if this process began
                await asyncio.sleep(POLL_SECONDS)
                continue
            try:
                found = await self._asked(one.endpoint, thread.ask(one.read))
                self._trouble.pop(one.endpoint, None)
                await self._tell(one, thread)
                first = one.endpoint not in self._seen
                self._seen.setdefault(one.endpoint, 0)
                if found is not None and self._due(one.endpoint, found[0]):
                    self._seen[one.endpoint] = found[0]
                    if not (first and _settled(found[1])):  # what came to rest before this process began is history
                        await self._change(one, thread, *found)
            except Exception as error:  # noqa: BLE001 - whatever it is, the endpoint goes on being followed
                if one.endpoint not in self._trouble:
                    log.warning("split not read", extra={"fields": {"endpoint": one.endpoint, "error": str(error)}})
                self._trouble[one.endpoint] = str(error)
            self._look()
            await asyncio.sleep(POLL_SECONDS)

    def _due(self, endpoint: str, revision: int) -> bool:
        if revision != self._seen.get(endpoint):
            return True
        return self._clock.now() >= self._again.get(endpoint, NEVER)

    async def _change(self, one: Following, thread: Threads, revision: int, asked: TrafficSplit) -> None:
        loop, plan = asyncio.get_running_loop(), of_arm(asked, one.arm)
        said: dict[str, Any] = {"revision": revision, "versions": [], "error": "", "arm": one.arm}
        self._again.pop(one.endpoint, None)
        self._unapplied.pop(one.endpoint, None)
        try:
            for share in plan.shares:
                if share.version not in self._catalog.versions(one.endpoint):
                    made = await thread.ask(partial(one.load, share.version, loop))
                    if one.endpoint in self._catalog.unloaded:  # meanwhile: this version must not bring it back
                        self._let_go(made)
                        return
                    self._catalog.put(made)
            self._apply(plan, {share.arm: share.weight for share in asked.shares})
        except Exception as error:  # a version that does not load must not end the others
            log.exception("split not applied", extra={"fields": {"endpoint": one.endpoint, "error": str(error)}})
            said["error"] = str(error) or type(error).__name__
            self._again[one.endpoint] = self._clock.now() + RETRY_SECONDS
            self._unapplied[one.endpoint] = said["error"]
        said["versions"] = self._catalog.versions(one.endpoint)
        self._untold[one.endpoint] = said
        await self._tell(one, thread)

    async def _tell(self, one: Following, thread: Threads) -> None:
        """Say what was applied; a store that does not take it is told again."""
        said = self._untold.get(one.endpoint)
        if said is None:
            return
        with contextlib.suppress(FairleadError):
            await self._asked(one.endpoint, thread.ask(partial(one.tell, said)))
            del self._untold[one.endpoint]

    def _apply(self, plan: TrafficSplit, weights: Mapping[str, float]) -> None:
        """At once, between two calls. ``weights``: percent of all calls, by arm."""
        lives = {share.version: self._catalog.resolve(plan.endpoint, share.version) for share in plan.shares}
        leading = max(plan.shares, key=lambda share: share.weight)
        self._catalog.switch(plan.endpoint, leading.version)
        for share in plan.shares:
            self._tape(lives[share.version], share, weights[share.arm])
        shadows = [share for share in plan.shares if share.shadow > 0]
        alone = leading.weight >= 100 and not shadows
        self.close_split(plan.endpoint)
        if not alone:
            shadow = self._shadow(lives, shadows[0]) if shadows else None
            self._catalog.splits[plan.endpoint] = Split(plan, lives, shadow, self._clock)
        for version in self._catalog.versions(plan.endpoint):
            if version not in lives:
                self._let_go(self._catalog.remove(plan.endpoint, version))
        log.info("split", extra={"fields": {"endpoint": plan.endpoint, "shares": _shown(plan)}})

    def _tape(self, live: Live, share: Share, weight: float) -> None:
        if live.tape is not None:
            self._recording.retire(live.tape)
        live.tape = self._recording.tape(
            live.endpoint, live.version, share.arm, weight / 100, batched=live.signature.batched
        )

    def _shadow(self, lives: Mapping[str, Live], share: Share) -> Shadow:
        live = lives[share.version]
        tape = self._recording.tape(
            live.endpoint, live.version, "shadow", share.shadow / 100, batched=live.signature.batched
        )
        return Shadow(live, share.shadow, tape)

    def _let_go(self, live: Live) -> None:
        self._keep(let_go(live, self._clock, self._recording.retire))

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _settled(plan: TrafficSplit) -> bool:
    return len(plan.shares) == 1 and not plan.shares[0].shadow


def _shown(plan: TrafficSplit) -> list[str]:
    return [f"{share.version} {share.arm} {share.weight:g}%" for share in plan.shares]
