"""What makes two questions the same, and which questions may see one another's answers. Pure.

A partition is everything but the last words of the user: who may see it, the model, the system prompt and the turns
before, tools, format and parameters. An answer never leaves its partition, whatever an embedding says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.contracts.access import Caller
from fairlead.contracts.generation import Generation, Message
from fairlead.serve.llm.ask import Ask

SCOPES: Final = ("key", "tenant", "endpoint")
"""Who may get an answer that somebody else was given: nobody, their tenant, everybody who may call."""


def _scope_key(caller: Caller) -> str:
    return f"key:{caller.name}"


def _scope_tenant(caller: Caller) -> str:
    return f"tenant:{caller.tenant}" if caller.tenant else _scope_key(caller)


_OF: Final[dict[str, Callable[[Caller], str]]] = {
    "key": _scope_key,
    "tenant": _scope_tenant,
    "endpoint": lambda _: "everybody",
}


def exact(ask: Ask, scope: str) -> bytes:
    """The same for the same question of those who share answers: 32 bytes."""
    return _digest(ask, scope, ask.generation.prompt)


def partition(ask: Ask, scope: str) -> bytes:
    """The same where only the last words of the user may differ."""
    prompt = ask.generation.prompt
    before: object = prompt[:-1] if isinstance(prompt, tuple) else "text"
    return _digest(ask, scope, before)


def question(generation: Generation) -> str:
    """The last words of the user; empty where the prompt ends with anything else."""
    prompt = generation.prompt
    if isinstance(prompt, str):
        return prompt
    last = prompt[-1] if prompt else None
    return last.content if isinstance(last, Message) and last.role == "user" else ""


def _digest(ask: Ask, scope: str, prompt: object) -> bytes:
    asked = ask.generation
    who = "nobody" if ask.caller is None else _OF[scope](ask.caller)
    whole = (
        who,
        asked.model,
        asked.adapter,
        prompt,
        asked.sampling,
        asked.tools,
        asked.choose,
        asked.parallel,
        asked.format,
        asked.resumes,
    )
    return hashlib.sha256(_ENCODER.encode(whole)).digest()


_ENCODER: Final = msgspec.json.Encoder(order="sorted", enc_hook=dict)
