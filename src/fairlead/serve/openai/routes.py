"""The routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from fairlead.contracts.tokens import Tokenizer
from fairlead.kit.codec import json
from fairlead.serve.front import Front
from fairlead.serve.llm.chats import Chats
from fairlead.serve.openai import chat, completions, responses
from fairlead.serve.openai.desk import BEAT, Desk, Way
from fairlead.serve.openai.embeddings import Embedder, Embeddings
from fairlead.serve.openai.kept import KEPT, Shelf
from fairlead.serve.openai.simply import Guest, Simply, told
from fairlead.serve.openai.tokenizing import Tokenizing
from fairlead.serve.openai.ways import Long, direct

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
RESPONSES: Final = "/v1/responses"
RESPONSE: Final = "/v1/responses/{id}"
EMBEDDINGS: Final = "/v1/embeddings"
TOKENIZE: Final = "/tokenize"
DETOKENIZE: Final = "/detokenize"


class OpenAI:
    """All routes over the language models of a server, and over its ``embedders`` and ``tokenizers``, by model.

    ``kept``: responses that are kept; 0 where several processes answer.  ``beat``: seconds of silence after which a
    stream gets a comment.
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
        ]

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


def _name(guest: Guest) -> str:
    return "" if guest.caller is None else guest.caller.name
