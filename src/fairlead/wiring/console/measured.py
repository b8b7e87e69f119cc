"""What a running server's ``/metrics`` say of an endpoint, for the console: quantiles of its histograms."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

import httpx

from fairlead.console.facts.access import Limited
from fairlead.console.facts.endpoint import Inside
from fairlead.contracts.errors import Unavailable
from fairlead.kit.sentences import cause
from fairlead.wiring import presence, standing
from fairlead.wiring.access import shown_key
from fairlead.wiring.console.kept import Kept

_SECONDS: Final = 2.0
_LARGEST: Final = 8 * 2**20
_LINE: Final = re.compile(r'(fairlead_\w+)\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\} (\S+)')
_ESCAPED: Final = re.compile(r"\\(.)")
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
    return told(_exposition(kept, url), endpoint, url)


def limited(kept: Kept) -> tuple[Limited, ...]:
    """Calls over a limit since the server started, most first. Raises Unavailable."""
    found: Counter[tuple[str, str, str]] = Counter()
    for name, labels, value in _samples(_exposition(kept, server_of(kept))):
        if name == "fairlead_limited_total":
            found[labels.get("endpoint", ""), labels.get("scope", ""), labels.get("limit", "")] += round(value)
    return tuple(Limited(*key, count) for key, count in found.most_common() if count)


def _exposition(kept: Kept, url: str) -> str:
    try:
        with client(kept, url) as asking:
            answer = asking.get("/metrics")
            answer.raise_for_status()
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise Unavailable(f"the server at {url} does not say what it measured: {cause(error)}") from None
    return answer.text[:_LARGEST]


def told(text: str, endpoint: str, url: str) -> Inside:
    """Of an exposition."""
    bins: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    waiting: float | None = None
    for name, labels, value in _samples(text):
        if labels.get("endpoint") != endpoint:
            continue
        if name == "fairlead_queue_rows":
            waiting = (waiting or 0.0) + value
        elif name.endswith("_bucket") and (end := _float(labels.get("le", ""))) is not None:
            bins[name.removeprefix("fairlead_").removesuffix("_bucket")][end] += value

    def pair(name: str) -> Pair:
        return quantile(bins[name], 0.5), quantile(bins[name], 0.99)

    return Inside(url, pair("queue_seconds"), pair("compute_seconds"), pair("batch_rows"), pair("batch_calls"), waiting)


def quantile(bins: dict[float, float], q: float) -> float | None:
    """The upper end of the bin in which a share ``q`` is reached; None where that is above all finite ends."""
    ends = sorted(bins)
    if not ends or not bins[ends[-1]]:
        return None
    return next((end for end in ends if math.isfinite(end) and bins[end] >= q * bins[ends[-1]]), None)


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        labels = {name: _ESCAPED.sub(_meant, value) for name, value in _LABEL.findall(found[2])}
        value = _float(found[3])
        if value is not None and math.isfinite(value):
            yield found[1], labels, value


def _meant(escaped: re.Match[str]) -> str:
    return "\n" if escaped[1] == "n" else escaped[1]


def _float(text: str) -> float | None:
    """None for what is no number."""
    try:
        found = float(text)
    except ValueError:
        return None
    return None if math.isnan(found) else found
