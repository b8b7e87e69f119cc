"""How many tokens a prompt is, as the server counts them: ``/tokenize`` of vLLM, and that of llama.cpp."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fairlead.adapters.engines.served.asking import Manner, messages, talks, tools
from fairlead.contracts.generation import Generation

PROBE: Final = {"prompt": "a"}
"""What vLLM counts, and in what llama.cpp finds nothing to count, and says so by an empty list."""


class _Counted(msgspec.Struct):
    count: int | None = None
    max_model_len: int | None = None
    tokens: list[Any] | None = None
    prompt: str | None = None


class Limits(msgspec.Struct):
    """What a server says of itself. ``kind``: ``vllm``, ``llama``; empty: it counts nothing."""

    kind: str = ""
    context: int = 0


class _Meta(msgspec.Struct):
    n_ctx: int | None = None


class _Model(msgspec.Struct):
    id: str = ""
    max_model_len: int | None = None
    context_length: int | None = None
    context_window: int | None = None
    meta: _Meta | None = None


class _Models(msgspec.Struct):
    data: list[_Model] | None = None


_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def probed(status: int, body: bytes) -> Limits:
    """What the answer to ``PROBE`` means."""
    found = _counted(body) if status == 200 else None
    if found is None or (found.count is None and found.tokens is None):
        return Limits()
    return Limits("llama" if found.count is None else "vllm", found.max_model_len or 0)


def context_of(body: bytes, model: str) -> int:
    """Tokens that a model takes, in a list of models; 0 where it does not say."""
    try:
        found = msgspec.json.decode(body, type=_Models).data or []
    except _BROKEN:
        return 0
    for one in found:
        if one.id == model or len(found) == 1:
            says = (one.max_model_len, one.context_length, one.context_window, one.meta and one.meta.n_ctx)
            return max((number for number in says if number), default=0)
    return 0


def question(asked: Generation, manner: Manner, kind: str) -> tuple[str, dict[str, Any]]:
    """Path and body. Of llama.cpp a conversation is made a text first; see ``text_of``."""
    if not talks(asked):
        if kind == "llama":
            return "/tokenize", {"content": asked.prompt, "add_special": True}
        return "/tokenize", {"model": manner.model, "prompt": asked.prompt}
    told: dict[str, Any] = {"model": manner.model, "messages": messages(asked, manner)}
    if asked.tools:
        told["tools"] = tools(asked)
    if kind == "llama":
        return "/apply-template", told
    return "/tokenize", {**told, "add_generation_prompt": True}


def count_of(body: bytes) -> int | None:
    found = _counted(body)
    if found is None:
        return None
    return len(found.tokens) if found.count is None and found.tokens is not None else found.count


def text_of(body: bytes) -> str | None:
    found = _counted(body)
    return None if found is None else found.prompt


def _counted(body: bytes) -> _Counted | None:
    try:
        return msgspec.json.decode(body, type=_Counted)
    except _BROKEN:
        return None
