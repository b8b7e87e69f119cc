"""Which language models are live, and how each is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.contracts.engine import Engine
from fairlead.contracts.errors import NotFound, Unavailable
from fairlead.kit.config import nearest
from fairlead.serve.llm.ask import Enter


@dataclass(frozen=True, slots=True)
class Chat:
    """A language model that answers. ``enter``: its line.

    ``default``: tokens of an answer whose caller names no number.  ``most``: that a caller may name.  None: as many as
    fit.
    ``deadline``: seconds that an answer may take.  ``created``: Unix time in seconds.
    ``stages``: what tells of its line what does not work now.
    """

    name: str
    engine: Engine
    enter: Enter
    default: int | None = None
    most: int | None = None
    deadline: float = 600.0
    created: int = 0
    stages: Sequence[Callable[[], list[str]]] = ()

    def troubles(self) -> list[str]:
        """Of its engine and its stages, a sentence each."""
        return [*self.engine.troubles(), *(sentence for told in self.stages for sentence in told())]


class Chats:
    """By the name that callers send as ``model``."""

    def __init__(self) -> None:
        self._live: dict[str, Chat] = {}
        self._expected: set[str] = set()
        self.told: Callable[[str, bool], None] = lambda _name, _live: None
        """Hears of every model that comes or goes."""

    def expect(self, name: str) -> None:
        self._expected.add(name)

    def put(self, chat: Chat) -> None:
        self._live[chat.name] = chat
        self._expected.discard(chat.name)
        self.told(chat.name, True)

    def remove(self, name: str) -> None:
        if self._live.pop(name, None) is not None:
            self.told(name, False)

    def resolve(self, name: str) -> Chat:
        """Raises NotFound naming what is live, Unavailable while it loads."""
        found = self._live.get(name)
        if found is not None:
            return found
        if name in self._expected:
            raise Unavailable(f"model {name!r} is still loading", retry_after=1)
        known = list(self._live)
        raise NotFound(f"there is no model {name!r}{nearest(name, known)} (live: {', '.join(known) or 'none'})")

    def all(self) -> list[Chat]:
        return list(self._live.values())

    def troubles(self) -> list[str]:
        """What does not work now, a sentence each."""
        return [f"{one.name}: {trouble}" for one in self.all() for trouble in one.troubles()]
