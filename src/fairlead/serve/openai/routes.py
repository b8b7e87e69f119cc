"""The routes of OpenAI's API, and what is the same for all of them: who calls, which model, errors in its shape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fairlead.contracts.access import Action
from fairlead.contracts.engine import Event
from fairlead.contracts.errors import FairleadError, MalformedBody
from fairlead.contracts.generation import Ended, Generation, Message, Piece, Sampling
from fairlead.kit.ids import request_id as fresh_id
from fairlead.serve.edges.status import status_of
from fairlead.serve.front import Front, request_id
from fairlead.serve.guarding import guarded, sight_of
from fairlead.serve.http import read_body
from fairlead.serve.llm.ask import Ask
from fairlead.serve.llm.chats import Chats

Handler = Callable[[Request], Awaitable[Response]]

CHAT = "/v1/chat/completions"


class OpenAI:
    """All routes over the language models of a server."""

    def __init__(self, front: Front, chats: Chats) -> None:
        self._front = front
        self._chats = chats

    def routes(self) -> list[Route]:
        return [self._route(CHAT, self.chat)]

    def _route(self, path: str, handler: Handler) -> Route:
        inner = guarded(self._front, handler, path)

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except FairleadError as error:
                return refuse(error)

        return Route(path, handle, methods=["POST"])

    async def chat(self, request: Request) -> Response:
        """A conversation, answered whole."""
        body = await read_body(request, self._front.max_body)
        try:
            asked = msgspec.json.decode(body, type=_Body)
        except msgspec.DecodeError as error:
            raise MalformedBody(f"the body is no request of this API: {error}") from None
        sight_of(request).require(Action.GENERATE, asked.model)
        chat = self._chats.resolve(asked.model)
        now = self._front.pipeline.clock.now()
        messages = tuple(Message(one.role, one.content) for one in asked.messages)  # type: ignore[arg-type]
        most = asked.max_completion_tokens or chat.default
        generation = Generation(fresh_id(), asked.model, messages, Sampling(most=most), deadline=now + chat.deadline)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        said: list[str] = []

        def tell(event: Event) -> None:
            if isinstance(event, Piece):
                said.append(event.text)
            elif ended.done():
                return
            elif isinstance(event, Ended):
                ended.set_result(event)
            elif isinstance(event, FairleadError):
                ended.set_exception(event)

        identity = request_id(request.headers.get("x-request-id", "").encode() or None)
        running = chat.enter(Ask(generation, now, identity, sight_of(request).caller, len(body)), tell)
        try:
            end = await ended
        finally:
            running.cancel()
        message = {"role": "assistant", "content": "".join(said)}
        choice = {"index": 0, "message": message, "finish_reason": end.reason, "logprobs": None}
        usage = {
            "prompt_tokens": end.usage.prompt,
            "completion_tokens": end.usage.completion,
            "total_tokens": sum(end.usage),
        }
        return _json({"object": "chat.completion", "model": asked.model, "choices": [choice], "usage": usage})


class _Message(msgspec.Struct):
    role: str
    content: str


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_completion_tokens: int | None = None


def refuse(error: FairleadError) -> Response:
    """An error in the shape of this API."""
    told = {"message": str(error), "type": "invalid_request_error", "param": None, "code": error.code}
    return _json({"error": told}, status_of(error.code))


def _json(document: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
