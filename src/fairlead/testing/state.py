"""A state store in memory, for tests; ``fairlead.testing.state_suite`` holds for it too."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from fairlead.contracts.errors import Conflict, LeaseLost, Unavailable
from fairlead.contracts.events import Accepted, Label, Window
from fairlead.contracts.state import Body, Document, Entry, Hour, KnownLabel, Lease, Tally
from fairlead.kit.clock import Clock, SystemClock
from fairlead.kit.known import History, check_names, checked, from_text, learn, lease_ms, to_text

_Place = tuple[str, str, str, str, int]


class MemoryState:
    """StateStore for one process, safe for its threads. ``down``: answer nothing, as a database that has stopped."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.down = False
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._documents: dict[tuple[str, str], tuple[int, str, int]] = {}
        self._entries: list[tuple[str, str, int, int, str]] = []
        self._windows: dict[_Place, Window] = {}
        self._hours: dict[tuple[str, int], Hour] = {}
        self._labels: dict[tuple[str, str, int, bool], History] = {}
        self._leases: dict[str, Lease] = {}

    def get(self, kind: str, key: str) -> Document | None:
        with self._answering():
            found = self._documents.get((kind, key))
            return Document(kind, key, found[0], from_text(found[1]), found[2]) if found else None

    def all(self, kind: str) -> list[Document]:
        with self._answering():
            keys = sorted(key for of, key in self._documents if of == kind)
            return [found for key in keys if (found := self.get(kind, key))]

    def put(self, kind: str, key: str, body: Body, revision: int, *, fence: Lease | None = None) -> Document:
        check_names(kind=kind, key=key)
        text = to_text(body)
        with self._answering():
            self._check(fence)
            found = self._documents.get((kind, key), (0,))[0]
            if found != revision:
                raise Conflict(f"{kind} {key!r} is at revision {found} and not {revision}; read it and try again")
            self._documents[kind, key] = (revision + 1, text, self._clock.wall_ms())
            return Document(kind, key, revision + 1, from_text(text), self._documents[kind, key][2])

    def remove(self, kind: str, key: str, revision: int, *, fence: Lease | None = None) -> None:
        with self._answering():
            self._check(fence)
            found = self._documents.get((kind, key), (0,))[0]
            if not revision or found != revision:
                raise Conflict(f"{kind} {key!r} is at revision {found} and not {revision}; read it and try again")
            del self._documents[kind, key]

    def append(self, kind: str, subject: str, body: Body, *, fence: Lease | None = None) -> Entry:
        check_names(kind=kind, subject=subject)
        text = to_text(body)
        with self._answering():
            self._check(fence)
            line = (kind, subject, len(self._entries) + 1, self._clock.wall_ms(), text)
            self._entries.append(line)
            return Entry(*line[:4], from_text(text))

    def entries(
        self,
        kind: str,
        subject: str = "",
        *,
        after: int = 0,
        since_ms: int = 0,
        until_ms: int | None = None,
        limit: int = 0,
    ) -> list[Entry]:
        with self._answering():
            found = [
                line
                for line in self._entries[max(after, 0) :]
                if line[0] == kind and subject in ("", line[1]) and _within(line[3], since_ms, until_ms)
            ]
            if limit and (since_ms > 0 or until_ms is not None):
                found = sorted(sorted(found, key=lambda line: line[3])[-limit:], key=lambda line: line[2])
            return [Entry(*line[:4], from_text(line[4])) for line in (found[-limit:] if limit else found)]

    def put_windows(self, windows: Sequence[Window]) -> None:
        with self._answering():
            self._windows |= {_place(window): window for window in windows}

    def windows(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        version: str = "",
        columns: bool = True,
    ) -> list[Window]:
        with self._answering():
            found = [
                window if columns else replace(window, columns={})
                for window in self._windows.values()
                if window.endpoint == endpoint
                and version in ("", window.version)
                and _within(window.start_ms, since_ms, until_ms)
            ]
            return sorted(found, key=lambda window: (window.start_ms, window.version, window.arm, window.worker))

    def tallies(self, endpoint: str, *, since_ms: int, until_ms: int, unit_ms: int) -> dict[int, Tally]:
        found: dict[int, Tally] = {}
        with self._answering():
            for one in self._windows.values():
                if one.endpoint == endpoint and _within(one.start_ms, since_ms, until_ms):
                    start = one.start_ms - one.start_ms % unit_ms
                    known = found.get(start, Tally(0, 0, 0))
                    found[start] = Tally(known.windows + 1, known.calls + one.calls, known.rows + one.rows)
        return found

    def put_hours(self, endpoint: str, hours: Sequence[Hour], *, fence: Lease | None = None) -> None:
        check_names(endpoint=endpoint)
        with self._answering():
            self._check(fence)
            self._hours |= {(endpoint, one.start_ms): one for one in hours}

    def hours(self, endpoint: str, *, since_ms: int, until_ms: int, columns: bool = True) -> list[Hour]:
        with self._answering():
            starts = sorted(at for of, at in self._hours if of == endpoint and _within(at, since_ms, until_ms))
            return [_shown(self._hours[endpoint, at], columns=columns) for at in starts]

    def endpoints(self) -> list[str]:
        with self._answering():
            return sorted({window.endpoint for window in self._windows.values()})

    def prune_windows(self, before_ms: int) -> int:
        with self._answering():
            before = len(self._windows)
            self._windows = {at: window for at, window in self._windows.items() if window.start_ms >= before_ms}
            self._hours = {at: hour for at, hour in self._hours.items() if hour.start_ms >= before_ms}
            return before - len(self._windows)

    def label(self, labels: Sequence[Label]) -> Accepted:
        kept = checked(labels)
        new = corrected = 0
        with self._answering():
            for label in kept:
                history = self._labels.setdefault((label.endpoint, label.key, label.row, label.by_key), [])
                if not history:
                    history.append((label.at_ms, label.value))
                    new += 1
                elif learn(history, label.at_ms, label.value):
                    corrected += 1
        return Accepted(new, len(kept) - new - corrected, corrected)

    def labels(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        keys: Sequence[str] = (),
        limit: int = 0,
    ) -> list[KnownLabel]:
        wanted = set(keys)
        found: list[tuple[int, KnownLabel]] = []
        with self._answering():
            for (of, key, row, by_key), history in self._labels.items():
                moved = [at_ms for at_ms, _ in history if _within(at_ms, since_ms, until_ms)]
                if of == endpoint and moved and (not wanted or key in wanted):
                    at_ms, value = history[-1]
                    label = Label(endpoint, key, value, at_ms, row, by_key)
                    found.append((moved[-1], KnownLabel(label, tuple(history[:-1]))))
        return [known for _, known in sorted(found, key=lambda one: one[0])][: limit or None]

    def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        check_names(name=name, owner=owner)
        length = lease_ms(seconds)
        with self._answering():
            now, held = self._clock.wall_ms(), self._leases.get(name)
            free = held is None or held.expires_ms <= now
            if held and not free and held.owner != owner:
                return None
            token = (held.token if held else 0) + free
            self._leases[name] = Lease(name, owner, token, now + length)
            return self._leases[name]

    def holder(self, name: str) -> Lease | None:
        with self._answering():
            held = self._leases.get(name)
            return held if held and held.expires_ms > self._clock.wall_ms() else None

    def release(self, lease: Lease) -> None:
        with self._answering():
            held = self._leases.get(lease.name)
            if held and (held.owner, held.token) == (lease.owner, lease.token):
                self._leases[lease.name] = Lease(lease.name, lease.owner, lease.token, 0)

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def _answering(self) -> Iterator[None]:
        with self._lock:
            if self.down:
                raise Unavailable("the state store in memory was told not to answer", retry_after=1.0)
            yield

    def _check(self, fence: Lease | None) -> None:
        if fence is None:
            return
        held = self._leases.get(fence.name)
        current = held and (held.owner, held.token) == (fence.owner, fence.token)
        if not (held and current and held.expires_ms > self._clock.wall_ms()):
            raise LeaseLost(f"{fence.owner!r} no longer holds the lease {fence.name!r}; acquire it before acting")


def _place(window: Window) -> _Place:
    return window.endpoint, window.version, window.arm, window.worker, window.start_ms


def _within(at_ms: int, since_ms: int, until_ms: int | None) -> bool:
    return at_ms >= since_ms and (until_ms is None or at_ms < until_ms)


def _shown(hour: Hour, *, columns: bool) -> Hour:
    return hour if columns else replace(hour, windows=tuple(replace(one, columns={}) for one in hour.windows))
