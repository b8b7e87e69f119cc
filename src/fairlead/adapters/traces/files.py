"""Traces as JSON Lines on this machine, a file a day; files that are older than they are kept go."""

from __future__ import annotations

import logging
import queue
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from fairlead.adapters.traces.names import LATEST, attributes, title, told
from fairlead.contracts.answered import Answered, Traced
from fairlead.contracts.generation import Usage
from fairlead.contracts.secrets import Secret

WAITING: Final = 4096
"""Traces that wait to be written; more are dropped and told."""
_DAY_MS: Final = 86_400_000

log = logging.getLogger("fairlead.traces")


class FileTracer:
    """``place``: the folder. Written by a thread; what waits is written at the end."""

    def __init__(
        self, place: str, service: str, headers: Secret | None = None, names: str = LATEST, days: float = 7.0
    ) -> None:
        del headers  # nobody is asked
        self._folder, self._service, self._names, self._days = Path(place), service, names, days
        self._waiting: queue.SimpleQueue[Answered | None] = queue.SimpleQueue()
        self._trouble, self._dropped, self._day = "", 0, ""
        self._thread = threading.Thread(target=self._write, name="fairlead-traces", daemon=True)
        self._thread.start()

    def put(self, one: Answered) -> None:
        if self._waiting.qsize() >= WAITING:
            self._dropped += 1
        else:
            self._waiting.put(one)

    def troubles(self) -> list[str]:
        dropped = [f"traces: {self._dropped} were dropped, the disk is too slow for them"] if self._dropped else []
        return [self._trouble, *dropped] if self._trouble else dropped

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join(5.0)

    def _write(self) -> None:
        while (one := self._waiting.get()) is not None:
            lines = [one]
            while not self._waiting.empty() and len(lines) < 256:
                more = self._waiting.get()
                if more is None:
                    self._waiting.put(None)
                    break
                lines.append(more)
            try:
                self._keep(lines)
                self._trouble = ""
            except OSError as error:
                if not self._trouble:
                    log.warning("traces not kept", extra={"fields": {"why": error.strerror}})
                self._trouble = f"traces: {self._folder} cannot be written: {error.strerror}"

    def _keep(self, lines: list[Answered]) -> None:
        day = datetime.fromtimestamp(lines[-1].at_ms / 1000, UTC).strftime("%Y-%m-%d")
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{day}.jsonl").open("ab") as file:
            file.write(b"".join(msgspec.json.encode(self._line(one)) + b"\n" for one in lines))
        if day != self._day:
            self._day = day
            self._clear(lines[-1].at_ms)

    def _line(self, one: Answered) -> Traced:
        usage = one.usage or Usage()
        return Traced(
            title(one),
            self._service,
            one.at_ms - round(one.seconds * 1000),
            one.at_ms,
            one.parent,
            "error" if one.failed else "ok",
            one.error,
            attributes(one, self._names),
            one.generation.id,
            one.request_id,
            one.endpoint,
            one.caller,
            one.outcome,
            one.first - one.arrived if one.first else None,
            one.per_token or None,
            (usage.prompt, usage.cached, usage.completion),
            told(one.facts),
        )

    def _clear(self, now_ms: int) -> None:
        if not self._days:
            return
        oldest = datetime.fromtimestamp((now_ms - self._days * _DAY_MS) / 1000, UTC).strftime("%Y-%m-%d")
        for path in self._folder.glob("????-??-??.jsonl"):
            if path.stem < oldest:
                path.unlink(missing_ok=True)
