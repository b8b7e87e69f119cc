"""Callers who may be copying a model, the server's side: what each asks is counted, and who is told to wait waits.

Servers and controller meet in the state store: ``abuse-asked`` (a document an endpoint and worker, its last windows)
and ``abuse-slow`` (who is answered later, and until when).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.contracts.state import StateStore
from fairlead.kit import ids
from fairlead.kit.clock import Clock, SystemClock
from fairlead.kit.codec.records import to_body
from fairlead.kit.config import Home
from fairlead.monitor.binning import Reference
from fairlead.monitor.callers import Asked, Profile, Ranks
from fairlead.serve.catalog import Catalog
from fairlead.serve.sampling import Delays, Sample, Sampling
from fairlead.wiring import watching
from fairlead.wiring.stores import state

ASKED: Final = "abuse-asked"
SLOW: Final = "abuse-slow"

WINDOW_MS: Final = 15_000
WINDOWS: Final = 20
"""Windows that a worker keeps for a controller that is away: five minutes."""
CALLERS: Final = 64
"""Callers of an endpoint that one worker keeps apart; who asked longest ago is forgotten."""
RENEW_MS: Final = 60_000
"""Between two looks at which reference an endpoint has."""


@dataclass(frozen=True, slots=True)
class Watched:
    """How an endpoint is watched. ``delay``: seconds that a caller who alarms waits; 0: they are only told of.

    ``release_ms``: after so long without an alarm they wait no more.
    """

    delay: float = 0.0
    release_ms: int = 3_600_000


@dataclass(frozen=True, slots=True)
class Window:
    """What callers asked of one worker. ``number``: grows by one; ``process``: of which process."""

    process: str
    number: int
    asked: dict[str, Asked]


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker last said."""

    windows: list[Window] = field(default_factory=list)


class Counting:
    """The worker's side: ``keep`` is called once a second, in a thread."""

    def __init__(
        self,
        store: Callable[[], StateStore],
        reference: Callable[[str], Reference | None],
        watched: Mapping[str, Watched],
        place: str,
        process: str,
        clock: Clock,
    ) -> None:
        self._store, self._reference, self._watched = store, reference, watched
        self._place, self._process, self._clock = place, process, clock
        self._profiles: dict[str, dict[str, Profile]] = {}
        self._ranks: dict[str, tuple[Ranks, int]] = {}
        self._windows: dict[str, list[Window]] = {}
        self._number, self._ends = 0, 0

    def keep(self, samples: Sequence[Sample]) -> Delays:
        """Fold the samples, put the window where it is over, and say who is answered later. Raises Unavailable."""
        now = self._clock.wall_ms()
        for one in samples:
            self._profile(one.endpoint, one.caller, now).add(one.inputs, one.outputs)
        if now >= self._ends or self._ends > now + WINDOW_MS:
            self._ends = now + WINDOW_MS
            self._number += 1
            self._put()
        return self._slow(now)

    def _profile(self, endpoint: str, caller: str, now: int) -> Profile:
        ranks, renewed = self._ranks.get(endpoint, (None, 0))
        profiles = self._profiles.setdefault(endpoint, {})
        if ranks is None or now - renewed >= RENEW_MS:
            there = self._reference(endpoint)
            if ranks is None or (there and there.id) != (ranks.reference and ranks.reference.id):
                ranks = Ranks(there)
                profiles.clear()
            self._ranks[endpoint] = (ranks, now)
        profile = profiles.pop(caller, None) or Profile(ranks)
        if len(profiles) >= CALLERS:
            profiles.pop(next(iter(profiles)))
        profiles[caller] = profile
        return profile

    def _put(self) -> None:
        for endpoint, profiles in self._profiles.items():
            asked = {name: found for name, one in profiles.items() if (found := one.take()).rows}
            if not asked:
                continue
            window = Window(self._process, self._number, asked)
            self._windows[endpoint] = [*self._windows.get(endpoint, []), window][-WINDOWS:]
            key, store = f"{endpoint}/{self._place}", self._store()
            document = store.get(ASKED, key)
            store.put(ASKED, key, to_body(Told(self._windows[endpoint])), document.revision if document else 0)

    def _slow(self, now: int) -> Delays:
        delays: dict[tuple[str, str], float] = {}
        for endpoint, how in self._watched.items():
            document = self._store().get(SLOW, endpoint) if how.delay else None
            until: Mapping[str, int] = document.body if document else {}
            delays |= {(endpoint, name): how.delay for name, at in until.items() if at > now}
        return delays


def sampling(
    home: Home, watched: Mapping[str, Watched], served: watching.Watched, catalog: Catalog, worker: str
) -> Sampling | None:
    """What looks at the callers of these endpoints; None where none are watched. ``worker``: its place."""
    if not watched:
        return None
    find = watching.references(lambda: state(home), served)

    def reference(endpoint: str) -> Reference | None:
        found = catalog.versions(endpoint)
        return find(endpoint, found[0]) if found else None

    place = watching.place_of(worker)
    counting = Counting(lambda: state(home), reference, watched, place, f"{place}.{ids.process()}", SystemClock())
    return Sampling(counting.keep)
