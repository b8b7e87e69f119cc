"""The engine that is a server of OpenAI's API: ``Engine`` over HTTP/1.1, without a task for an answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import Final

from fairlead.adapters.engines.served import asking, tokens
from fairlead.adapters.engines.served.answer import Answer, Patience, estimate
from fairlead.adapters.engines.served.exchange import Reply, Unanswered, exchange
from fairlead.adapters.engines.served.links import Links
from fairlead.adapters.engines.served.refusals import Whom
from fairlead.adapters.engines.served.requests import Requests
from fairlead.adapters.engines.served.settings import Settings
from fairlead.contracts.engine import EngineTraits, Tell
from fairlead.contracts.errors import FairleadError, InputError, QueueFull, Unavailable
from fairlead.contracts.generation import Generation
from fairlead.kit.fitting import too_long, unfit

log = logging.getLogger("fairlead.engines")

_ASK_SECONDS: Final = 5.0
"""For what is asked beside the answers."""


@dataclass(slots=True)
class Busy:
    waiting: int = 0
    running: int = 0
    memory: float = 0.0


class Upstream:
    """One model of one server. A server that is away when this starts is a trouble, not a failure: it may come."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._traits = settings.traits
        self._counter = ""
        self._answers: set[Answer] = set()
        self._open = False
        self._trouble = ""
        self._learned = False
        self._probing: asyncio.Task[None] | None = None
        to = settings.reach.address
        self._server = f"the server at {to.scheme}://{to.authority}"
        self._requests = Requests(settings)
        self.links = Links(settings.reach)

    @property
    def traits(self) -> EngineTraits:
        return self._traits

    @property
    def patience(self) -> Patience:
        return self._settings.patience

    async def start(self) -> None:
        self._open = True
        if self.links.closed:
            self.links = Links(self._settings.reach)
        self._requests.credential()
        why = await self._look()
        if why:
            self._suspect(why)

    async def stop(self) -> None:
        self._open = False
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
            self._probing = None
        self.links.closed = True  # what one answer lets go of, no other one takes
        for one in [*self._answers]:
            one.fail(Unavailable("the engine was stopped", retry_after=1))
        await self.links.close()

    async def count(self, asked: Generation) -> int:
        error = unfit(asked, self._traits)
        if error is not None:
            raise error
        found = await self._counted(asked)
        error = too_long(found, asked, self._traits)
        if error is not None:
            raise error
        return found

    def load(self) -> Busy:
        running = sum(one.sent for one in self._answers)
        return Busy(len(self._answers) - running, running)

    def troubles(self) -> list[str]:
        return [self._trouble] if self._trouble else []

    def generate(self, asked: Generation, tell: Tell) -> Answer:
        answer = Answer(self, asked, tell)
        error = self._refusal(asked)
        if error is not None:
            answer.fail(error)
            return answer
        self._answers.add(answer)
        answer.begin()
        return answer

    async def healthy(self) -> bool:
        """Whether ``/health`` says that it is ready."""
        try:
            return (await self._ask(self._requests.get("/health"))).status == 200
        except Unanswered:
            return False

    def _refusal(self, asked: Generation) -> FairleadError | None:
        if not self._open:
            return Unavailable("the engine is not started", retry_after=1)
        if self.links.waiting >= self._settings.waiting:
            most = self._settings.reach.most
            return QueueFull(
                f"{most} answers are under way at {self._server} and {self.links.waiting} wait", retry_after=1
            )
        error: InputError | None = unfit(asked, self._traits)
        if error is None and self._traits.context and not asking.talks(asked) and not isinstance(asked.prompt, str):
            error = too_long(len(asked.prompt), asked, self._traits)
        return error

    # For the answers.

    def request(self, asked: Generation) -> bytes:
        return self._requests.generation(asked)

    def whom(self) -> Whom:
        token = self._settings.token
        if token is None:
            return Whom(self._server, self._settings.manner.model)
        return Whom(self._server, self._settings.manner.model, token.reference, token.reveal())

    def gone(self, answer: Answer) -> None:
        self._answers.discard(answer)

    def well(self) -> None:
        if self._trouble:
            self._trouble = ""
            log.info("engine answers again", extra={"fields": {"endpoint": self._settings.name}})

    def ill(self, error: FairleadError) -> None:
        if self._open:
            self._suspect(str(error))

    def uncounted(self) -> None:
        if self._traits.counts:
            self._traits = replace(self._traits, counts=False)
            told = {"endpoint": self._settings.name, "why": "the server sends no usage; it is estimated"}
            log.warning("usage estimated", extra={"fields": told})

    # How it is.

    def _suspect(self, why: str) -> None:
        if not self._trouble:
            log.warning("engine does not answer", extra={"fields": {"endpoint": self._settings.name, "why": why}})
        self._trouble = why
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        """Only while there is a trouble, and lightly."""
        while self._trouble:
            await asyncio.sleep(self._settings.probe)
            if self._trouble and not await self._look():
                self.well()

    async def _look(self) -> str:
        """Ask the server what it has. What is wrong, empty for nothing."""
        try:
            found = await self._ask(self._requests.get("/models", below=True))
        except (Unanswered, Unavailable) as error:
            return f"{self._server} does not answer: {error}"
        if found.status in (401, 403):
            whom = self.whom()
            return (
                f"{self._server} refuses {whom.credential or 'requests without a credential'} (status {found.status})"
            )
        if found.status >= 500:
            return f"{self._server} answers with status {found.status}"
        if not self._learned:
            await self._learn(found)
        return ""

    async def _learn(self, models: Reply) -> None:
        context = tokens.context_of(models.body, self._settings.manner.model) if models.status == 200 else 0
        if self._settings.tokenize:
            try:
                told = {**tokens.PROBE, "model": self._settings.manner.model}
                found = tokens.probed(*await self._ask(self._requests.post("/tokenize", told)))
            except (Unanswered, Unavailable):
                return
            self._counter = found.kind
            context = found.context or context
        self._learned = True
        if context and not self._traits.context:
            self._traits = replace(self._traits, context=context)

    async def _counted(self, asked: Generation) -> int:
        if not asking.talks(asked) and not isinstance(asked.prompt, str):
            return len(asked.prompt)
        if not self._counter or not self._open:
            return estimate(asked)
        try:
            path, told = tokens.question(asked, self._settings.manner, self._counter)
            status, body = await self._ask(self._requests.post(path, told))
            if path == "/apply-template" and status == 200:
                text = {"content": tokens.text_of(body) or "", "add_special": True}
                status, body = await self._ask(self._requests.post("/tokenize", text))
        except (Unanswered, Unavailable):
            return estimate(asked)
        found = tokens.count_of(body) if status == 200 else None
        return estimate(asked) if found is None else found

    async def _ask(self, request: bytes) -> Reply:
        return await exchange(self.links, request, _ASK_SECONDS)
