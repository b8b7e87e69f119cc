"""What the state store says of models behind endpoints, as metrics: alerts, readings of monitors, shares of traffic.

It is looked at beside the calls, in a thread; a scrape shows what was seen last. Where the store does not answer, the
metrics are absent: they are never zero for what is not known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.figures import Figure
from fairlead.contracts.sink import Sink
from fairlead.contracts.state import StateStore
from fairlead.kit.threads import Threads

SECONDS: Final = 15.0
"""Between two looks: Prometheus looks as often by default."""

_log = logging.getLogger("fairlead.serve")


class ModelPlane:
    """A companion of the server. ``endpoints``: those that are served."""

    def __init__(self, endpoints: Sequence[str], store: Callable[[], StateStore], sink: Sink) -> None:
        self._endpoints, self._store = endpoints, store
        self._seen: tuple[Figure, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._threads = Threads(1, "model-plane")
        sink.figures("model-plane", lambda: self._seen)

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            try:
                self._seen = await self._threads.ask(self._look)
            except FairleadError as error:  # the follower tells of it as a trouble
                self._seen = ()
                _log.debug("the model plane is not known", extra={"fields": {"error": str(error)}})
            except Exception:  # noqa: BLE001 - a document that is not as we write it does not end the looking
                self._seen = ()
                _log.exception("the model plane cannot be read")
            await asyncio.sleep(SECONDS)

    def _look(self) -> tuple[Figure, ...]:
        store = self._store()
        return tuple(figure for name in self._endpoints for figure in figures(store, name))

    def drain(self) -> None:
        """It has nothing to do with calls."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._threads.close()

    def troubles(self) -> list[str]:
        return []


def figures(store: StateStore, endpoint: str) -> Iterator[Figure]:
    """Of one endpoint. Raises what the store raises."""
    memory = store.get("monitor", endpoint)
    if memory is not None:
        yield from _alerts(endpoint, memory.body)
        for name, value in memory.body.get("readings", {}).items():
            labels = (("endpoint", endpoint), ("reading", name))
            yield Figure("fairlead_monitor_reading", "gauge", READING, labels, float(value))
    split = store.get("split", endpoint)
    for share in split.body["shares"] if split is not None else ():
        labels = (("endpoint", endpoint), ("version", share["version"]))
        yield Figure("fairlead_traffic_share", "gauge", SHARE, labels, share["weight"] / 100)


FIRING: Final = "1 while an alert of the endpoint's monitors fires."
READING: Final = "What the newest window that was tested had, by the names that alert rules use."
SHARE: Final = "Share of the calls that a version gets by the traffic split, 0 to 1."


def _alerts(endpoint: str, body: Mapping[str, Any]) -> Iterator[Figure]:
    for name, standing in body.get("standings", {}).items():
        labels = (("endpoint", endpoint), ("alert", name))
        yield Figure("fairlead_alert_firing", "gauge", FIRING, labels, float(standing["since_ms"] > 0))
