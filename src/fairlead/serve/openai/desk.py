"""What all requests for text share: models, access to them, and the turn of the loop in which streams are written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import NotFound
from fairlead.serve.access.asking import Asking
from fairlead.serve.access.gate import Pass
from fairlead.serve.front import Front
from fairlead.serve.llm.chats import Chat, Chats
from fairlead.serve.openai import refusals
from fairlead.serve.openai.answers import Now, Plan
from fairlead.serve.openai.api import BEAT


class Guest(Asking, Protocol):
    """A request as the gate sees it, and who sends it."""

    caller: Caller | None


class Written(Protocol):
    """Something that has more to write."""

    def flush(self) -> None: ...


class Wish(Protocol):
    """What a body wants. ``prompt``: what its prompt is called.  ``facts``: what is told of it in traces."""

    prompt: str
    model: str
    streams: bool

    @property
    def facts(self) -> dict[str, object]: ...

    def plan(self, chat: Chat, identity: str, now: Now, caller: Caller | None) -> Plan:
        """Raises InputError and NotFound. ``identity``: of the request."""


@dataclass(frozen=True, slots=True)
class Way:
    """A route of requests for text. ``pattern``: as the router has it.  ``prompt``: what a prompt is called there."""

    pattern: str
    read: Callable[[bytes], Wish]
    prompt: str


@dataclass(slots=True)
class Desk:
    """What all requests share. ``beat``: as ``BEAT``."""

    front: Front
    chats: Chats
    beat: float = BEAT
    _written: list[Written] = field(default_factory=list)

    def seconds(self) -> int:
        """Unix time."""
        return self.front.pipeline.clock.wall_ms() // 1000

    def soon(self, talk: Written) -> None:
        """Write what it has at the end of this turn of the loop."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._write)
        self._written.append(talk)

    def _write(self) -> None:
        written, self._written = self._written, []
        for talk in written:
            talk.flush()

    def enter(self, name: str, asking: Guest, *, again: bool = False) -> Chat:
        """The model that a request names, for a caller who may ask it. ``again``: one who came before.

        Raises Forbidden, NotFound, Unavailable; Unauthenticated for those who came before and are known no longer.
        """
        front = self.front
        gate, allowed = front.gate, None
        if gate is not None:
            try:
                allowed = gate.readmit(asking, asking.caller, name) if again else gate.admit(asking, name)
            except NotFound:
                raise refusals.no_model(name) from None
            asking.caller = allowed.caller
        chat = self._found(name, allowed)
        if gate is not None and allowed is not None:
            gate.let_in(allowed, name)
        return chat

    def _found(self, name: str, allowed: Pass | None) -> Chat:
        try:
            return self.chats.resolve(name)
        except NotFound:
            catalog = self.front.pipeline.catalog
            if catalog.versions(name):
                raise refusals.no_model(
                    name, f"is a model of tensors and writes no text; call /v2/models/{name}/infer."
                ) from None
            if name in catalog.others:
                raise refusals.no_model(name, f"writes no text; call {catalog.others[name]}.") from None
            if name in catalog.loading:
                catalog.resolve(name)  # says so
            known = ", ".join(one.name for one in self.chats.all())
            why = f"does not exist; live models are: {known or 'none'}." if allowed is None else None
            raise (refusals.no_model(name) if why is None else refusals.no_model(name, why)) from None
