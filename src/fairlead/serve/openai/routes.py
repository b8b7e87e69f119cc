"""The routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from fairlead.contracts.errors import Unavailable
from fairlead.contracts.tokens import Tokenizer
from fairlead.kit.codec import json
from fairlead.serve.front import Front
from fairlead.serve.llm.batches.runner import Runner
from fairlead.serve.llm.chats import Chats
from fairlead.serve.openai import chat, completions, responses
from fairlead.serve.openai.api import (
    BATCH,
    BATCHES,
    BEAT,
    CANCEL,
    CHAT,
    COMPLETIONS,
    CONTENT,
    DETOKENIZE,
    EMBEDDINGS,
    FILE,
    FILES,
    KEPT,
    RESPONSE,
    RESPONSES,
    TOKENIZE,
)
from fairlead.serve.openai.batch.answering import Answers
from fairlead.serve.openai.batch.batches import BatchRoutes
from fairlead.serve.openai.batch.files import FileRoutes
from fairlead.serve.openai.desk import Desk, Way
from fairlead.serve.openai.embeddings import Embedder, Embeddings
from fairlead.serve.openai.kept import Shelf
from fairlead.serve.openai.simply import Guest, Simply, told
from fairlead.serve.openai.tokenizing import Tokenizing
from fairlead.serve.openai.ways import Long, direct


class OpenAI:
    """All routes over the language models of a server, and over its ``embedders`` and ``tokenizers``, by model.

    ``kept``: responses that are kept; 0 where several processes answer.  ``beat``: seconds of silence after which a
    stream gets a comment.  ``batches``: works on batches; None: there are none here.
    """

    def __init__(
        self,
        front: Front,
        chats: Chats,
        *,
        embedders: Mapping[str, Embedder] | None = None,
        tokenizers: Mapping[str, Tokenizer] | None = None,
        kept: int = KEPT,
        beat: float = BEAT,
        batches: Runner | None = None,
    ) -> None:
        self._front = front
        self._desk = Desk(front, chats, beat)
        self._shelf = Shelf(kept)
        self._embeddings = Embeddings(embedders if embedders is not None else {})
        self._tokenizing = Tokenizing(tokenizers if tokenizers is not None else {}, chats)
        self._ways = (
            Way(CHAT, chat.read, chat.PROMPT),
            Way(COMPLETIONS, completions.read, completions.PROMPT),
            Way(RESPONSES, responses.reading(self._shelf), responses.PROMPT),
        )
        self._batches = batches

    def routes(self) -> list[Route]:
        """For the router; what can go the short way is told to the front."""
        for way in self._ways:
            self._front.direct[way.pattern.encode()] = direct(self._desk, way)
        found = [Route(way.pattern, Long(self._desk, way)) for way in self._ways]
        tokens = self._tokenizing
        return [
            *found,
            self._simply(RESPONSE, {"GET": self._response, "DELETE": self._forget}),
            self._simply(EMBEDDINGS, {"POST": self._embeddings.answer}),
            self._simply(TOKENIZE, {"POST": tokens.tokenize}, "prompt"),
            self._simply(DETOKENIZE, {"POST": tokens.detokenize}, "tokens"),
            *self._batched(),
        ]

    def _batched(self) -> list[Route]:
        handlers: dict[str, dict[str, Any]]
        if self._batches is None:
            methods = {FILES: "POST GET", FILE: "GET DELETE", CONTENT: "GET", BATCHES: "POST GET", BATCH: "GET"}
            methods[CANCEL] = "POST"
            handlers = {path: dict.fromkeys(names.split(), _no_batches) for path, names in methods.items()}
        else:
            answers = Answers(self._desk, {way.pattern: way for way in self._ways}, self._embeddings)
            self._batches.by(answers)
            files = FileRoutes(self._batches.shelf, self._batches.threads)
            batches = BatchRoutes(self._batches, answers.urls)
            handlers = {
                FILES: {"POST": files.create, "GET": files.list},
                FILE: {"GET": files.get, "DELETE": files.delete},
                CONTENT: {"GET": files.content},
                BATCHES: {"POST": batches.create, "GET": batches.list},
                BATCH: {"GET": batches.get},
                CANCEL: {"POST": batches.cancel},
            }
        return [self._simply(path, methods_) for path, methods_ in handlers.items()]

    def _simply(self, path: str, handlers: Mapping[str, Any], prompt: str = "input") -> Route:
        return Route(path, Simply(self._front, path, handlers, prompt))

    async def _response(self, guest: Guest) -> Response:
        identity = guest.request.path_params["id"]
        return told(self._shelf.get(_name(guest), identity, "response_id").document)

    async def _forget(self, guest: Guest) -> Response:
        identity, name = guest.request.path_params["id"], _name(guest)
        self._shelf.get(name, identity, "response_id")
        self._shelf.forget(name, identity)
        return told(json.encode({"id": identity, "object": "response", "deleted": True}))


async def _no_batches(guest: Guest) -> Response:  # noqa: ARG001 - as every handler
    raise Unavailable("this server keeps no files and no batches: it has no language models")


def _name(guest: Guest) -> str:
    return "" if guest.caller is None else guest.caller.name
