"""Loading and unloading endpoints at a caller's word: Triton's model repository extension.

What can be loaded is what the server was started with. Loading one that is live loads it again, what its URI names
now, and lets the old one go when its calls are answered. An unloaded endpoint answers 503 until it is loaded.

Source: Triton Inference Server, "Model Repository Extension" of the KServe V2 protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairlead.contracts.errors import Forbidden, InvalidParameter, NotFound, Unavailable
from fairlead.kit.clock import Clock
from fairlead.kit.config import nearest
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live
from fairlead.serve.leaving import let_go
from fairlead.serve.recording import Tape

log = logging.getLogger("fairlead.serve")


@dataclass(frozen=True, slots=True)
class Loader:
    """Brings one endpoint to life. ``load`` blocks (it runs in a thread) and returns how to make the version live."""

    endpoint: str
    load: Callable[[asyncio.AbstractEventLoop], Live]


class Control(Protocol):
    """Loads and unloads endpoints, wherever this server runs."""

    async def load(self, endpoint: str) -> None:
        """Raises NotFound, Forbidden, or what loading raises."""

    async def unload(self, endpoint: str) -> None:
        """Raises NotFound or Forbidden."""


class Locked:
    """A ``Control`` of a server whose callers may not load and unload."""

    async def load(self, endpoint: str) -> None:
        raise Forbidden(f"callers may not load {endpoint!r} here: the server was started without --model-control")

    async def unload(self, endpoint: str) -> None:
        raise Forbidden(f"callers may not unload {endpoint!r} here: the server was started without --model-control")


class Repository:
    """The ``Control`` of one process."""

    def __init__(self, catalog: Catalog, loaders: Mapping[str, Loader], clock: Clock) -> None:
        self._catalog = catalog
        self._loaders = loaders
        self._clock = clock
        self._retire: Callable[[Tape], None] = lambda _tape: None
        self._close_split: Callable[[str], None] = lambda _endpoint: None
        self._locks = {name: asyncio.Lock() for name in loaders}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def records(self, retire: Callable[[Tape], None], close_split: Callable[[str], None]) -> None:
        """Calls are recorded: ``retire`` closes the tape of a version that left, ``close_split`` those of a rollout."""
        self._retire, self._close_split = retire, close_split

    async def load(self, endpoint: str) -> None:
        """Load it, or wait for whoever does already. Raises Unavailable during a rollout too."""
        loader = self._known(endpoint)
        self._refuse_rollout(endpoint)
        task = self._loading.get(endpoint)
        if task is None:
            task = self._loading[endpoint] = self._keep(self._load(loader))
        await asyncio.shield(task)

    async def unload(self, endpoint: str) -> None:
        """Take it away; what it has is answered."""
        self._known(endpoint)
        self._loading.pop(endpoint, None)  # who asks for it from now on wants it after this
        async with self._locks[endpoint]:
            self._close_split(endpoint)
            for live in self._catalog.unload(endpoint):
                self._let_go(live)
        log.info("unloaded", extra={"fields": {"endpoint": endpoint}})

    async def _load(self, loader: Loader) -> None:
        endpoint, loop = loader.endpoint, asyncio.get_running_loop()
        async with self._locks[endpoint]:
            began = self._clock.now()
            try:
                live = await loop.run_in_executor(None, loader.load, loop)
            finally:
                if self._loading.get(endpoint) is asyncio.current_task():
                    del self._loading[endpoint]
            try:
                self._refuse_rollout(endpoint)  # it began meanwhile
            except Unavailable:
                self._let_go(live)
                raise
            for one in self._catalog.replace(live):
                self._let_go(one)
        fields = {"endpoint": endpoint, "version": live.version, "seconds": round(self._clock.now() - began, 3)}
        log.info("loaded", extra={"fields": fields})

    def _known(self, endpoint: str) -> Loader:
        if endpoint in self._catalog.loading:
            raise Unavailable(f"endpoint {endpoint!r} is still loading", retry_after=1)
        try:
            return self._loaders[endpoint]
        except KeyError:
            known = list(self._loaders)
            raise NotFound(
                f"there is no endpoint {endpoint!r}{nearest(endpoint, known)} (this server was started with: "
                f"{', '.join(known)})"
            ) from None

    def _refuse_rollout(self, endpoint: str) -> None:
        if endpoint in self._catalog.splits:
            raise Unavailable(
                f"a rollout shares the calls of {endpoint!r} among versions; load it when that is over, or abort it",
                retry_after=60,
            )

    def _let_go(self, live: Live) -> None:
        self._keep(let_go(live, self._clock, self._retire))

    def _keep(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def refuse_parameters(given: Iterable[str]) -> None:
    """Raises InvalidParameter for one that would change what is loaded."""
    for name in given:
        if name != "unload_dependents":  # nothing is loaded for the sake of another here
            raise InvalidParameter(
                f"parameter {name!r} cannot be honoured: an endpoint is loaded as the server was told when it started"
            )
