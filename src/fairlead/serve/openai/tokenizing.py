"""``POST /tokenize`` and ``/detokenize``, as vLLM has them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct
from starlette.responses import Response

from fairlead.contracts.errors import BodyTooLarge, NotFound, Unavailable
from fairlead.contracts.tokens import Tokenizer
from fairlead.kit.codec import json
from fairlead.serve.http import read_body
from fairlead.serve.llm.chats import Chats
from fairlead.serve.openai.bodies import decode
from fairlead.serve.openai.messages import Turn, conversation
from fairlead.serve.openai.refusals import Invalid, unsupported
from fairlead.serve.openai.simply import Guest, told
from fairlead.serve.openai.tools import Offered, offered

INLINE: Final = 20_000
"""Bytes of a body from which on a thread does the work."""
MOST: Final = 4_000_000
"""Bytes of a body: seconds of a processor, and some hundred megabytes for the ids. Nobody can stop a thread."""

_Model = Annotated[str, Meta(min_length=1, max_length=256)]


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """``prompt`` or ``messages``."""

    model: _Model | None = None
    prompt: str | None = None
    messages: list[Turn] | None = None
    tools: list[Offered] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    return_token_strs: bool | None = None
    chat_template: Any = UNSET
    chat_template_kwargs: Any = UNSET
    continue_final_message: bool | None = None


class Ids(Struct, forbid_unknown_fields=True, kw_only=True):
    tokens: list[Annotated[int, Meta(ge=0, le=2**31 - 1)]]
    model: _Model | None = None


_BODY: Final = msgspec.json.Decoder(Body)
_IDS: Final = msgspec.json.Decoder(Ids)


class Tokenizing:
    """``tokenizers``: by the name that callers send as ``model``.  ``chats``: who know how much fits."""

    def __init__(self, tokenizers: Mapping[str, Tokenizer], chats: Chats) -> None:
        self._tokenizers, self._chats = tokenizers, chats
        self._turn = asyncio.Lock()
        """Long texts are read one at a time: together they would take every thread that there is."""

    async def tokenize(self, guest: Guest) -> Response:
        raw = await _body(guest)
        body = decode(_BODY, raw)
        name, tokenizer = self._model(guest, body.model)
        for param in ("chat_template", "chat_template_kwargs"):
            if getattr(body, param) is not UNSET and getattr(body, param) is not None:
                raise unsupported(param, "is not honoured: the template of the model decides.")
        if body.continue_final_message:
            raise unsupported("continue_final_message", "is not honoured.")
        if body.add_generation_prompt is False:
            raise unsupported("add_generation_prompt", "is always true here: a conversation is ready for an answer.")
        if (body.prompt is None) == (body.messages is None):
            raise Invalid("Send either 'prompt' or 'messages'.", "prompt", "missing_required_parameter")
        ids = await self._done(len(raw), _encoded, tokenizer, body)
        strings = None
        if body.return_token_strs:
            strings = [tokenizer.piece(one).decode(errors="replace") for one in ids]
        found = {"count": len(ids), "max_model_len": self._context(name), "tokens": ids, "token_strs": strings}
        return told(json.encode(found))

    async def detokenize(self, guest: Guest) -> Response:
        raw = await _body(guest)
        body = decode(_IDS, raw)
        _, tokenizer = self._model(guest, body.model)
        for at, one in enumerate(body.tokens):
            if one >= tokenizer.size:
                raise Invalid(
                    f"Invalid 'tokens[{at}]': {one} is no token; there are {tokenizer.size}.", f"tokens[{at}]"
                )
        text = await self._done(len(raw), tokenizer.decode, body.tokens)
        return told(json.encode({"prompt": text}))

    def _model(self, guest: Guest, name: str | None) -> tuple[str, Tokenizer]:
        if name is None:
            if len(self._tokenizers) != 1:
                raise Invalid("Missing required parameter: 'model'.", "model", "missing_required_parameter")
            name = next(iter(self._tokenizers))
        return name, guest.model(name, self._tokenizers, "tell its tokens here")

    async def _done(self, size: int, work: Any, *given: Any) -> Any:
        """Here where it is short, else in a thread."""
        if size < INLINE:
            return work(*given)
        await self._turn.acquire()
        task = asyncio.ensure_future(asyncio.to_thread(work, *given))
        task.add_done_callback(lambda _task: self._turn.release())  # not when the caller leaves: the thread goes on
        return await asyncio.shield(task)

    def _context(self, name: str) -> int:
        try:
            return self._chats.resolve(name).engine.traits.context
        except (NotFound, Unavailable):
            return 0


def _encoded(tokenizer: Tokenizer, body: Body) -> list[int]:
    if body.prompt is None:
        return tokenizer.converse(conversation(body.messages or ()), offered(body.tools))
    begin = [] if body.add_special_tokens is False else list(tokenizer.begin)
    return [*begin, *tokenizer.encode(body.prompt)]


async def _body(guest: Guest) -> bytes:
    raw = await read_body(guest.request, guest.front.max_body)
    if len(raw) > MOST:
        raise BodyTooLarge(f"the body has {len(raw)} bytes; tokens of {MOST} are told at once: send the text in parts")
    return raw
