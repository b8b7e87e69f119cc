"""What a running server's ``/metrics`` say of an endpoint, for the console: quantiles of its histograms."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import httpx

from fairlead.console.facts.endpoint import Inside
from fairlead.contracts.errors import Unavailable
from fairlead.kit.sentences import cause
from fairlead.wiring import presence, standing
from fairlead.wiring.access import shown_key
from fairlead.wiring.console.kept import Kept

_SECONDS: Final = 2.0
_LARGEST: Final = 8 * 2**20
_LINE: Final = re.compile(r'(fairlead_\w+)\{([^}]*(?:"[^"]*"[^}]*)*)\} ([-+.\deEINFa]+)')
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Pair = tuple[float | None, float | None]


def server_of(kept: Kept) -> str:
    """Where models answer: what was named, else the server that runs on the home. Raises Unavailable."""
    if kept.server:
        return kept.server.rstrip("/")
    found = presence.found(kept.home)
    if found is None or not found.url:
        raise Unavailable("no server that fairlead up started runs here; name one: fairlead console --server URL")
    return found.url


def client(kept: Kept, url: str) -> httpx.Client:
    """Asks this machine's own server; whatever certificate it has is its own."""
    key = shown_key(kept.home)
    shown = {"authorization": f"Bearer {key}"} if key else {}
    found = None if kept.server else presence.found(kept.home)
    trusted = standing.trust(found.cert if found else kept.cert)
    return httpx.Client(base_url=url, timeout=_SECONDS, headers=shown, verify=trusted)


def inside(kept: Kept, endpoint: str) -> Inside:
    """Raises Unavailable."""
    url = server_of(kept)
    try:
        with client(kept, url) as asking:
            answer = asking.get("/metrics")
            answer.raise_for_status()
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise Unavailable(f"the server at {url} does not say what it measured: {cause(error)}") from None
    return told(answer.text[:_LARGEST], endpoint, url)


def told(text: str, endpoint: str, url: str) -> Inside:
    """Of an exposition."""
    bins: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    waiting: float | None = None
    for name, labels, value in _samples(text, endpoint):
        if name == "fairlead_queue_rows":
            waiting = (waiting or 0.0) + value
        elif name.endswith("_bucket"):
            bins[name.removeprefix("fairlead_").removesuffix("_bucket")][float(labels["le"])] += value

    def pair(name: str) -> Pair:
        return quantile(bins[name], 0.5), quantile(bins[name], 0.99)

    return Inside(url, pair("queue_seconds"), pair("compute_seconds"), pair("batch_rows"), pair("batch_calls"), waiting)


def quantile(bins: dict[float, float], q: float) -> float | None:
    """The upper end of the bin in which a share ``q`` is reached; the last finite end above all of them."""
    ends = sorted(bins)
    if not ends or not bins[ends[-1]]:
        return None
    finite = [end for end in ends if end != float("inf")]
    return next((end for end in finite if bins[end] >= q * bins[ends[-1]]), finite[-1] if finite else None)


def _samples(text: str, endpoint: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        labels = {name: value.replace('\\"', '"').replace("\\\\", "\\") for name, value in _LABEL.findall(found[2])}
        if labels.get("endpoint") == endpoint:
            yield found[1], labels, float(found[3])
