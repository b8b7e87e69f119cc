"""How large a question is, and whose it is, as far as can be told without a tokenizer."""

from __future__ import annotations

from typing import Final

from fairlead.contracts.generation import Message
from fairlead.serve.llm.ask import Ask

_CHARACTERS: Final = 4
"""Of a token, about: what is reserved by it is corrected as soon as the engine says."""
_TURN: Final = 4
"""Tokens that a template adds to each message, about."""


def prompt_tokens(ask: Ask) -> int:
    """Tokens of the prompt: counted where somebody counted them, else about; 1 at least."""
    if ask.prompt >= 0:
        return max(1, ask.prompt)
    prompt = ask.generation.prompt
    if isinstance(prompt, str):
        return 1 + len(prompt) // _CHARACTERS
    total = 0
    for one in prompt:
        total += _TURN + len(one.content) // _CHARACTERS if isinstance(one, Message) else 1
    return max(1, total)


def tenant_of(ask: Ask) -> str:
    """Whose share it takes: the tenant, else the caller; empty for nobody known."""
    if ask.generation.tenant or ask.caller is None:
        return ask.generation.tenant
    return ask.caller.tenant or ask.caller.name
