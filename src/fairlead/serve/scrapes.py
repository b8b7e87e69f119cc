"""A scrape of all workers, answered by one of them: the supervisor asks the others and keeps the time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from fairlead.contracts.sink import Part, Sink
from fairlead.serve.messages import Collect, Measure, Measured, Measurements, Whole
from fairlead.serve.process import Process, State
from fairlead.serve.tally import Asked, Tally

LATE: Final = 1.0
"""Seconds for the workers to say what they measured; then their last word counts."""


class Scrapes:
    """``processes``: those that run, by number; kept by the supervisor."""

    def __init__(self, processes: Mapping[int, Process], sink: Sink) -> None:
        self._loop = asyncio.get_running_loop()
        self._processes = processes
        self._sink = sink
        self._tally = Tally(sink.merge)

    def received(self, process: Process, message: Measured | Collect) -> None:
        if isinstance(message, Measured):
            self.said(process, message.text)
        else:
            self.begin(process, message.number, message.text)

    def said(self, process: Process, text: bytes) -> None:
        """What a worker measured so far."""
        self._answer(self._tally.said(process.number, text))

    def ended(self, process: Process) -> None:
        """A worker is gone; what it counted stays."""
        self._answer(self._tally.ended(process.number))

    def begin(self, asker: Process, number: int, text: bytes) -> None:
        """Somebody asked ``asker``, which measured ``text`` itself."""
        self.said(asker, text)
        others = [one for one in self._processes.values() if one is not asker and one.was_ready and one.channel.open]
        asked = self._tally.ask(asker.number, number, (one.number for one in others))
        for one in others:
            one.channel.send(Measure())
        if others:
            self._loop.call_later(LATE, self._late, asked)
        else:
            self._late(asked)

    def _late(self, asked: Asked) -> None:
        if self._tally.give_up(asked):
            for number in asked.awaited:
                self._sink.workers().silent(self._processes[number].name)
            self._answer([asked])

    def _answer(self, done: list[Asked]) -> None:
        for asked in done:
            asker = self._processes[asked.asker]
            names = [(one.number, one.name, one.state is State.LEAVING) for one in self._processes.values()]
            parts = [Part("supervisor", self._sink.render()[0]), *self._tally.parts(names, but=asked.asker)]
            shown = [Measurements(part.worker, part.text, part.gone) for part in parts]
            asker.channel.send(Whole(asked.number, shown))
