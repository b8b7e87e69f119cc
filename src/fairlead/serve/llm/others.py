"""Other endpoints of the same server, as a stage asks them: found when they are asked, for they come and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fairlead.contracts.engine import Running, Tell
from fairlead.contracts.errors import NotFound, Unavailable, UsageError
from fairlead.serve.llm.ask import OVER, Ask, Enter
from fairlead.serve.llm.chats import Chat

Find = Callable[[str], Chat]
"""By name. Raises NotFound, and Unavailable while it loads."""


def enter(find: Find, name: str, behind: str) -> Enter:
    """The line of another endpoint. ``behind``: the endpoint that asks it."""

    def ask(asked: Ask, tell: Tell) -> Running:
        if name in asked.through or name == behind:
            tell(UsageError(f"{name} leads back to itself, by {' -> '.join((*asked.through, behind))}"))
            return OVER
        try:
            chat = find(name)
        except NotFound as error:
            tell(Unavailable(f"{behind} needs the endpoint {name!r}: {error}"))
            return OVER
        except Unavailable as error:
            tell(error)
            return OVER
        return chat.enter(_within(asked, chat, behind), tell)

    return ask


def _within(asked: Ask, chat: Chat, behind: str) -> Ask:
    """The same question to another endpoint, within its limits. Tokens are counted anew: it may count otherwise."""
    generation, most = asked.generation, asked.generation.sampling.most
    limits = [one for one in (most if most is not None else chat.default, chat.most) if one is not None]
    sampling = replace(generation.sampling, most=min(limits, default=None))
    asked = replace(asked, through=(*asked.through, behind), prompt=-1)
    return asked.of(replace(generation, model=chat.name, sampling=sampling))
