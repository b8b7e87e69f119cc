"""Where traces go, as the spec says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fairlead.contracts.answered import Tracer
from fairlead.kit import plugins
from fairlead.kit.config import Home
from fairlead.kit.secrets import secret

GROUP = "fairlead.traces"


@dataclass(frozen=True, slots=True)
class Tracing:
    """``otlp``: address; empty for none.  ``headers``: a reference.  ``days``: that files are kept; 0: for ever."""

    otlp: str = ""
    headers: str = ""
    file: bool = False
    days: float = 7.0
    content: bool = False
    names: str = "latest"
    service: str = "fairlead"

    def tracers(self, home: Home) -> list[Tracer]:
        """Raises MissingExtra."""
        found: list[Tracer] = []
        if self.otlp:
            headers = secret(self.headers) if self.headers else None
            found.append(plugins.load(GROUP, "otlp")(self.otlp, self.service, headers, self.names))
        if self.file:
            folder = str(home.root / "traces")
            found.append(plugins.load(GROUP, "file")(folder, self.service, None, self.names, self.days))
        return found


class Traced:
    """A companion of the server: what is left is sent at its end."""

    def __init__(self, tracers: Sequence[Tracer]) -> None:
        self._tracers = tracers

    def start(self) -> None:
        """They began when they were made."""

    def drain(self) -> None:
        """Answers still come."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, partial(one.close)) for one in self._tracers))

    def troubles(self) -> list[str]:
        return [trouble for one in self._tracers for trouble in one.troubles()]
