"""One batch, worked off: looked at, asked request by request, a few at once, and written down as it goes."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from fairlead.contracts.errors import FairleadError, StorageFull
from fairlead.kit.clock import Clock
from fairlead.kit.codec import json
from fairlead.kit.threads import Threads
from fairlead.serve.llm.batches.asking import Answered, Answering
from fairlead.serve.llm.batches.journal import Journal, Line
from fairlead.serve.llm.batches.lines import TOLD, Request, answered, body, check, never
from fairlead.serve.llm.batches.records import Batch, Problem
from fairlead.serve.llm.batches.shelf import Place, Shelf

log = logging.getLogger("fairlead.serve")

PARALLEL: Final = 8
"""Requests of one batch at once."""
TRIES: Final = 3
"""Of a request that the engine lost, or that took too long."""
LONGEST: Final = 30.0
"""Seconds between two tries."""
LOOK: Final = 0.25
"""Seconds between two looks at whether somebody wants it to end."""
TELL: Final = 1.0
"""Seconds between two states that are written down while nothing but counts changes."""
PAUSE: Final = 0.05
"""Seconds between two looks for room."""
FULL: Final = 5.0
"""Seconds until a full disk is tried again."""
_NEVER: Final = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed before the batch was cancelled."),
}

T = TypeVar("T")


class Work:
    """``trouble``: why it does not get on; empty where it does.  ``draining``: nothing more is begun."""

    def __init__(self, shelf: Shelf, place: Place, answering: Answering, clock: Clock, threads: Threads) -> None:
        self.place = place
        self.trouble = ""
        self.draining = False
        self._shelf, self._answering, self._clock, self._threads = shelf, answering, clock, threads
        self._batch: Batch
        self._journal: Journal
        self._input = -1
        self._lines: list[Line] = []
        self._asked: dict[asyncio.Task[None], Request] = {}
        self._woken = asyncio.Event()
        self._looked = self._told = 0.0
        self._cancelled = False

    async def run(self) -> None:
        """To its end; cancelled, it can be gone on with later. Raises StateError and OSError."""
        self._batch = await self._do(lambda: self._shelf.read(self.place))
        if self._batch.over:  # killed before the mark was removed
            await self._do(lambda: self._shelf.close(self.place))
            return
        self._journal = await self._do(lambda: Journal(self.place.folder))
        try:
            await self._whole()
        finally:
            for task in self._asked:
                task.cancel()
            await asyncio.gather(*self._asked, return_exceptions=True)
            with suppress(FairleadError, OSError):
                await self._do(self._leave)

    def _leave(self) -> None:
        """What is answered already is written down, whatever ends it."""
        try:
            if self._lines:
                self._journal.add(self._lines)
        finally:
            self._journal.close()
            if self._input >= 0:
                os.close(self._input)

    async def _whole(self) -> None:
        path, batch = self.place.folder / "input.jsonl", self._batch
        self._input = await self._do(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        found = await self._do(lambda: check(path.read_bytes(), batch.endpoint))
        if batch.status == "validating":
            await self._unless_draining()
            problems = found.problems or self._strangers(found.models)
            if problems:
                failed = msgspec.structs.replace(batch.at("failed", self._shelf.now()), errors=tuple(problems[:TOLD]))
                await self._patiently(lambda: self._shelf.write(self.place, failed))
                await self._do(lambda: self._shelf.close(self.place))
                return
            self._batch = batch.at("in_progress", self._shelf.now())
        total = len(found.requests)
        self._batch = msgspec.structs.replace(self._batch, counts=self._journal.counts(total))
        await self._patiently(self._write)
        left = deque(one for one in found.requests if one.custom_id not in self._journal.known)
        await self._finish(await self._ask(left), left)

    async def _finish(self, end: str, left: deque[Request]) -> None:
        """``left``: requests that are not answered and will not be."""
        now = self._shelf.now()
        if end in _NEVER:
            ending = msgspec.structs.replace(self._batch, ending=end)  # told first: a crash changes nothing
            cancelling = end == "cancelled" and not ending.cancelling_at
            self._batch = ending.at("cancelling", now) if cancelling else ending
        else:
            self._batch = self._batch.at("finalizing", now)
        await self._patiently(self._write)
        if end in _NEVER:
            code, why = _NEVER[end]
            self._lines += [Line(False, never(_identity(), one.custom_id, code, why)) for one in left]
        await self._patiently(self._flush)
        finished = self._batch
        await self._patiently(lambda: self._shelf.finish(self.place, finished, end))
        fields = {"batch": finished.id, "status": end, **msgspec.to_builtins(finished.counts)}
        log.info("batch is over", extra={"fields": fields})

    def _strangers(self, models: dict[str, int]) -> list[Problem]:
        """Models that this caller cannot ask."""
        found = []
        for model, line in models.items():
            why = self._answering.unknown(self._batch.endpoint, model, self._batch.caller)
            if why:
                found.append(Problem("model_not_found", why, "body.model", line))
        return found

    async def _ask(self, left: deque[Request]) -> str:
        """How it ends. Whoever was not asked, or not to the end, is ``left``."""
        while left or self._asked or self._lines:
            end = await self._end()
            if end:
                for task in self._asked:
                    task.cancel()
                unanswered = list(self._asked.items())
                await asyncio.gather(*self._asked, return_exceptions=True)
                left.extendleft(request for task, request in unanswered if task.cancelled())
                return end
            self._begin(left)
            self._woken.clear()
            if not self._lines:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), LOOK)
            if self._lines or self.trouble:
                await self._keep()
        return self._batch.ending or "completed"

    async def _end(self) -> str:
        now = self._clock.now()
        if now - self._looked >= LOOK:
            self._looked = now
            self._cancelled = await self._do(self.place.cancel.exists)
        if self._batch.ending:
            return self._batch.ending
        if self._cancelled:
            return "cancelled"
        return "expired" if self._shelf.now() >= self._batch.expires_at else ""

    def _begin(self, left: deque[Request]) -> None:
        url = self._batch.endpoint
        while left and len(self._asked) < PARALLEL and not self.draining and not self.trouble:
            if not self._answering.room(url, left[0].model):
                return
            request = left.popleft()
            task = asyncio.get_running_loop().create_task(self._one(request))
            self._asked[task] = request
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asked.pop(task, None)
        self._woken.set()

    async def _one(self, request: Request) -> None:
        try:
            found = await self._answer(request.model, body(os.pread(self._input, request.size, request.at)))
        except Exception:  # of ours: the other requests are not to suffer from it
            log.exception("request of a batch failed", extra={"fields": {"batch": self._batch.id}})
            told = {"error": {"message": "the server failed; its log has the cause", "type": "server_error"}}
            found = Answered(500, "", json.encode(told))
        line = answered(_identity(), request.custom_id, found.status, found.request_id, found.body)
        self._lines.append(Line(found.status < 400, line))

    async def _answer(self, model: str, asked: bytes) -> Answered:
        url, caller, tries = self._batch.endpoint, self._batch.caller, 0
        while True:
            await self._unless_draining()
            while not self._answering.room(url, model):  # noqa: ASYNC110 - room is seen, and told by nobody
                await asyncio.sleep(PAUSE)
            found = await self._answering.answer(url, model, asked, caller)
            tries += 1
            if found.again is None or (found.lost and tries >= TRIES):
                return found
            await asyncio.sleep(min(LONGEST, max(found.again, 0.1 * 2.0 ** min(tries, 10))))

    async def _unless_draining(self) -> None:
        """A server that drains takes its models away: what is asked, or judged, then is for the next one."""
        if self.draining:
            await asyncio.Event().wait()  # until it is cancelled

    async def _keep(self) -> None:
        """Write down what came."""
        try:
            await self._do(self._flush)
            now = self._clock.now()
            if self.trouble or now - self._told >= TELL:
                self._told = now
                await self._do(self._write)
            self.trouble = ""
        except StorageFull as error:
            self.trouble = f"batch {self._batch.id} waits: {error}"
            await asyncio.sleep(FULL)

    def _flush(self) -> None:
        lines = self._lines[:]
        if lines:
            self._journal.add(lines)
            del self._lines[: len(lines)]
        self._batch = msgspec.structs.replace(self._batch, counts=self._journal.counts(self._batch.counts.total))

    def _write(self) -> None:
        self._shelf.write(self.place, self._batch)

    async def _patiently(self, work: Callable[[], T]) -> T:
        """The same until the disk has room."""
        while True:
            try:
                found = await self._do(work)
            except StorageFull as error:
                self.trouble = f"batch {self._batch.id} waits: {error}"
                await asyncio.sleep(FULL)
            else:
                self.trouble = ""
                return found

    async def _do(self, work: Callable[[], T]) -> T:
        return await _whole(self._threads.ask(work))


async def _whole(asked: asyncio.Future[T]) -> T:
    """What a thread does; who is cancelled meanwhile waits for its end: nothing of it is left behind."""
    try:
        return await asyncio.shield(asked)
    except asyncio.CancelledError:
        await asyncio.wait((asked,))
        raise


def _identity() -> str:
    return f"batch_req_{secrets.token_hex(12)}"


def troubles(works: Sequence[Work]) -> list[str]:
    """Of all of them."""
    return [one.trouble for one in works if one.trouble]
