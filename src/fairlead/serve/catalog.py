"""Which versions are live, and which one a call gets.

One version of an endpoint answers calls that name none. Changing it is one assignment: calls that already resolved keep
the version they have.
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead.contracts.errors import NotFound, Unavailable
from fairlead.kit.config import nearest
from fairlead.serve.endpoint import Live
from fairlead.serve.split import Split


class Catalog:
    """Endpoint name to its live versions, in the order in which they were put."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, Live]] = {}
        self._current: dict[str, Live] = {}
        self._expected: set[str] = set()
        self._unloaded: set[str] = set()
        self.others: dict[str, str] = {}
        """Endpoints that answer otherwise than by versions, and the path of their calls."""
        self.told: Callable[[str, str, bool], None] = lambda _endpoint, _version, _live: None
        """Hears of every version that comes or goes."""
        self.splits: dict[str, Split] = {}
        """Endpoints whose calls are shared between versions; few at any time, and mostly none."""

    def expect(self, endpoint: str) -> None:
        """An endpoint that is being loaded: until it is put, calls get 503 and the server is not ready."""
        self._expected.add(endpoint)

    def other(self, endpoint: str, path: str) -> None:
        """An endpoint answers, by another way: by calls of ``path``."""
        self.others[endpoint] = path
        self._expected.discard(endpoint)

    def put(self, live: Live) -> None:
        """Make a version live; the first one of an endpoint answers its calls. The same version again replaces it."""
        self._versions.setdefault(live.endpoint, {})[live.version] = live
        if self._current.setdefault(live.endpoint, live).version == live.version:
            self._current[live.endpoint] = live
        self._expected.discard(live.endpoint)
        self._unloaded.discard(live.endpoint)
        self.told(live.endpoint, live.version, True)

    def replace(self, live: Live) -> list[Live]:
        """Make a version live in the place of all others of its endpoint; the caller drains and closes those."""
        old = self._gone(live.endpoint)
        self.put(live)
        return old

    def unload(self, endpoint: str) -> list[Live]:
        """Take an endpoint away: calls get 503 until a version is put; the caller drains and closes what is given."""
        self._unloaded.add(endpoint)
        self._expected.discard(endpoint)
        return self._gone(endpoint)

    def switch(self, endpoint: str, version: str) -> None:
        """Let ``version`` answer the calls that name none."""
        self._current[endpoint] = self.resolve(endpoint, version)

    def remove(self, endpoint: str, version: str) -> Live:
        """Take a version out; the caller drains and closes it. The current version cannot be removed alone."""
        live = self.resolve(endpoint, version)
        if self._current[endpoint] is live and len(self._versions[endpoint]) > 1:
            raise Unavailable(f"version {version} of {endpoint!r} answers its calls; switch to another version first")
        del self._versions[endpoint][version]
        if not self._versions[endpoint]:
            del self._versions[endpoint], self._current[endpoint]
        self.told(endpoint, version, False)
        return live

    def resolve(self, endpoint: str, version: str | None = None) -> Live:
        """The version that a call gets. Raises NotFound naming what is live, Unavailable while it loads."""
        live = self._current.get(endpoint)
        if live is None:
            raise self._absent(endpoint)
        if version is None or version == live.version:
            return live
        try:
            return self._versions[endpoint][version]
        except KeyError:
            known = ", ".join(self._versions[endpoint])
            raise NotFound(f"endpoint {endpoint!r} has no version {version!r}; live versions: {known}") from None

    def sole(self) -> Live:
        """The version that answers where the path names no endpoint. Raises NotFound unless there is exactly one."""
        if len(self._current) == 1 and not self._expected:
            return next(iter(self._current.values()))
        if not self._current:
            raise Unavailable("no endpoint is live yet", retry_after=1)
        raise NotFound(
            f"this path names no endpoint and {len(self._current)} are live ({', '.join(self._current)}); "
            "post to /serving-endpoints/NAME/invocations"
        )

    def endpoints(self) -> list[Live]:
        """The answering version of each endpoint."""
        return list(self._current.values())

    def named(self) -> list[tuple[str, str]]:
        """Every endpoint that answers, with its version; empty for those without."""
        return [*((live.endpoint, live.version) for live in self.endpoints()), *((name, "") for name in self.others)]

    def versions(self, endpoint: str) -> list[str]:
        return list(self._versions.get(endpoint, ()))

    def all(self) -> list[Live]:
        return [live for versions in self._versions.values() for live in versions.values()]

    @property
    def loading(self) -> list[str]:
        return sorted(self._expected)

    @property
    def unloaded(self) -> list[str]:
        return sorted(self._unloaded)

    @property
    def ready(self) -> bool:
        return bool(self._current or self._unloaded or self.others) and not self._expected

    def _gone(self, endpoint: str) -> list[Live]:
        self._current.pop(endpoint, None)
        gone = list(self._versions.pop(endpoint, {}).values())
        for live in gone:
            self.told(endpoint, live.version, False)
        return gone

    def _absent(self, endpoint: str) -> NotFound | Unavailable:
        if endpoint in self._expected:
            return Unavailable(f"endpoint {endpoint!r} is still loading", retry_after=1)
        if endpoint in self._unloaded:
            return Unavailable(
                f"endpoint {endpoint!r} is unloaded; load it: POST /v2/repository/models/{endpoint}/load"
            )
        if endpoint in self.others:
            return NotFound(f"endpoint {endpoint!r} is no model of tensors; call {self.others[endpoint]}")
        known = list(self._current)
        return NotFound(
            f"there is no endpoint {endpoint!r}{nearest(endpoint, known)} (live: {', '.join(known) or 'none'})"
        )
