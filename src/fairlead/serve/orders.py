"""Orders to every worker, passed on by their supervisor: load or unload an endpoint.

Faults are injected and taken away in the same way.

The worker that was asked tells the supervisor, which tells all that answer and waits for each; the first error is the
outcome. What was unloaded, and what is being done just now, is told to every worker that is ready later, before it
gets a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.serve.messages import Do, Done, Order, Outcome
from fairlead.serve.process import Process


@dataclass(slots=True)
class _Asked:
    """``asker``: number of the worker that waits, 0 for nobody.  ``awaited``: numbers of those that have not said."""

    asker: int
    number: int
    order: Order
    awaited: set[int]
    failed: list[Done] = field(default_factory=list)


class Orders:
    """``processes``: those that run, by number; kept by the supervisor."""

    def __init__(self, processes: Mapping[int, Process]) -> None:
        self._processes = processes
        self._asked: dict[int, _Asked] = {}
        self._serial = 0
        self._unloaded: set[str] = set()
        self._injected: dict[str, str] = {}
        """What was injected last into an endpoint; a worker looks whether it is over."""

    def received(self, process: Process, message: Order | Done) -> None:
        if isinstance(message, Order):
            everybody = {one.number for one in self._processes.values() if one.was_ready and one.channel.open}
            self._give(message, process.number, everybody)
            return
        asked = self._asked.get(message.number)
        if asked is not None:
            if message.code:
                asked.failed.append(message)
            self._heard(asked, process.number)

    def tell(self, process: Process) -> None:
        """A worker is ready, with everything loaded."""
        under_way = [(serial, one) for serial, one in self._asked.items() if one.asker]
        for endpoint in self._unloaded:
            self._give(Order(0, "unload", endpoint), 0, {process.number})
        for endpoint, text in self._injected.items():
            self._give(Order(0, "inject", endpoint, text), 0, {process.number})
        for serial, asked in under_way:
            asked.awaited.add(process.number)
            process.channel.send(Do(serial, asked.order.verb, asked.order.endpoint, asked.order.text))

    def ended(self, process: Process) -> None:
        """A worker is gone: nobody waits for it."""
        for asked in list(self._asked.values()):
            self._heard(asked, process.number)

    def _give(self, order: Order, asker: int, everybody: set[int]) -> None:
        self._serial += 1
        self._asked[self._serial] = asked = _Asked(asker, order.number, order, set(everybody))
        for number in everybody:
            self._processes[number].channel.send(Do(self._serial, order.verb, order.endpoint, order.text))
        if not everybody:
            self._end(self._serial, asked)

    def _heard(self, asked: _Asked, number: int) -> None:
        asked.awaited.discard(number)
        if not asked.awaited:
            self._end(next(serial for serial, one in self._asked.items() if one is asked), asked)

    def _end(self, serial: int, asked: _Asked) -> None:
        del self._asked[serial]
        order, failed = asked.order, asked.failed
        if order.verb == "load" and not failed:
            self._unloaded.discard(order.endpoint)
        elif order.verb == "unload" and not failed:
            self._unloaded.add(order.endpoint)
        elif order.verb == "inject" and not failed:
            self._injected[order.endpoint] = order.text
        elif order.verb == "calm":
            self._injected.pop(order.endpoint, None)
        asker = self._processes.get(asked.asker)
        if asker is not None:
            code, message = (failed[0].code, failed[0].message) if failed else ("", "")
            asker.channel.send(Outcome(asked.number, code, message))
