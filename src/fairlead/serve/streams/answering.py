"""Makes a call of a message and a letter of its outcome: an answer, another try, or a dead letter."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Final

from fairlead.contracts.broker import Message, Outgoing
from fairlead.contracts.errors import FairleadError, ModelFailed
from fairlead.contracts.types import Reply
from fairlead.kit import ids
from fairlead.serve.call import Call
from fairlead.serve.edges.edge import Request
from fairlead.serve.endpoint import Live
from fairlead.serve.pipeline import Pipeline, log_failure
from fairlead.serve.streams.bodies import Bodies
from fairlead.serve.streams.counts import Counts
from fairlead.serve.streams.deciding import Patience, again, delivered_too_often
from fairlead.serve.streams.letters import Letters, emptied
from fairlead.serve.streams.window import ANSWERS, DEAD, Item

log = logging.getLogger("fairlead.stream")

_LENGTH: Final = "inference-header-content-length"

Ready = Callable[[Item, Outgoing, int], None]
"""An item, what is to be published for it, and where."""


class Answering:
    """``told``: there is no place for dead letters, so that who waits for the answer is told the error.

    ``ready`` is called once for every item, on the event loop, maybe before ``begin`` returns.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        endpoint: str,
        letters: Letters,
        patience: Patience,
        counts: Counts,
        chance: Callable[[], float],
        told: bool,
        ready: Ready,
    ) -> None:
        self._pipeline = pipeline
        self._endpoint = endpoint
        self._letters = letters
        self._patience = patience
        self._counts = counts
        self._chance = chance
        self._told = told
        self._ready = ready
        self._bodies = Bodies()

    def begin(self, item: Item) -> None:
        """Answer it, unless it came too often."""
        given_up = delivered_too_often(item.message.deliveries, self._patience)
        if given_up is None:
            self._submit(item)
        else:
            self._dead(item, given_up)

    def too_large(self, item: Item, error: FairleadError) -> Outgoing:
        """What goes out as a dead letter for what can never be stored; at last without its body. Raises ``error``."""
        letter = item.outgoing
        if letter is None or "fairlead-error" not in letter.headers:
            self._counts.dead_lettered += 1
            return self._letters.dead(item.message, error, item.attempts, told=self._told)
        if "fairlead-body" in letter.headers:
            raise error
        log.error("a dead letter is too large; its body is left out", extra={"fields": {"id": item.message.id}})
        return emptied(letter)

    def _submit(self, item: Item) -> None:
        """Read the body and send the call down the line; ``_done`` may come before this returns."""
        item.attempts += 1
        message, pipeline = item.message, self._pipeline
        try:
            live = pipeline.catalog.resolve(self._endpoint)
            asked = self._bodies.read(message.body, _headers(message), live.signature)
        except Exception as error:  # noqa: BLE001 - told where the message goes and, when it is not ours, to the log
            self._failed(item, _ours(item, error))
            return
        unit = ""
        splits = pipeline.catalog.splits
        if splits and self._endpoint in splits:
            live, unit = splits[self._endpoint].choose(_all_headers(message), asked.inputs)
        done = functools.partial(self._done, item, live, asked, unit)
        pipeline.submit(live, live.call(asked.inputs, asked.parameters, done, arrived=pipeline.clock.now()))

    def _done(self, item: Item, live: Live, asked: Request, unit: str, call: Call) -> None:
        """The call has its outcome: measure it, write it, let it go out."""
        message, outcome, pipeline = item.message, call.outcome, self._pipeline
        size = len(message.body)
        prediction = pipeline.emit(live, call, _all_headers(message) if live.tape is not None else {}, unit, size)
        request_id = message.headers.get("x-request-id") or prediction or asked.id or ids.request_id()
        if not isinstance(outcome, Reply):
            if isinstance(outcome, ModelFailed):
                log_failure(live, outcome, request_id)
            self._failed(item, outcome or FairleadError("the call ended without an outcome"))
            return
        try:
            asked.prediction = prediction
            answer = self._bodies.write(outcome, asked, live.signature)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(item, _ours(item, error))
            return
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        letter = self._letters.answer(message, answer.body, headers, request_id, outcome.version, prediction)
        self._ready(item, letter, ANSWERS)
        splits = pipeline.catalog.splits
        if splits and self._endpoint in splits:
            splits[self._endpoint].after(call, pipeline.clock.now() - call.arrived, size)

    def _failed(self, item: Item, error: FairleadError) -> None:
        seconds = again(error, item.attempts, self._patience, self._chance())
        if seconds is None:
            self._dead(item, error)
            return
        self._counts.retried += 1
        asyncio.get_running_loop().call_later(seconds, self._submit, item)

    def _dead(self, item: Item, error: FairleadError) -> None:
        fields = {"id": item.message.id, "code": error.code, "attempts": item.attempts, "error": str(error)}
        log.warning("dead letter", extra={"fields": fields})
        self._counts.dead_lettered += 1
        letter = self._letters.dead(item.message, error, item.attempts, told=self._told)
        self._ready(item, letter, ANSWERS if self._told else DEAD)


def _headers(message: Message) -> dict[bytes, bytes]:
    """What the edge reads."""
    length = message.headers.get(_LENGTH)
    return {} if length is None else {_LENGTH.encode(): length.encode()}


def _all_headers(message: Message) -> dict[bytes, bytes]:
    """What a split and a recorder read, as of an HTTP request."""
    found = {name.encode(): value.encode("utf-8", "replace") for name, value in message.headers.items()}
    if message.key:
        found[b"fairlead-key"] = message.key.encode("utf-8", "replace")
    return found


def _ours(item: Item, error: Exception) -> FairleadError:
    if isinstance(error, FairleadError):
        return error
    log.error("message failed", exc_info=error, extra={"fields": {"id": item.message.id}})
    return FairleadError(f"the worker failed; its log has the cause under id {item.message.id}")
