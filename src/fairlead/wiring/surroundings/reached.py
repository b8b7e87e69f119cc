"""What of a spec lies elsewhere and must answer: stores, servers of models, issuers, collectors; and their clocks."""

from __future__ import annotations

import asyncio
import email.utils
import functools
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.upstream import Address, Garbled, Unreached
from fairlead.kit import plugins, secrets
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.kit.sentences import cause, without_secrets
from fairlead.package.doctor import Finding, Level
from fairlead.package.sources import Kind, parse
from fairlead.serve.remote.settings import Upstream
from fairlead.wiring import specs_upstream, stores, upstreams, watching

if TYPE_CHECKING:
    from fairlead.kit.spec.llm import Llm
    from fairlead.kit.spec.read import SpecFile
    from fairlead.kit.spec.spec import Endpoint

_SECONDS: Final = 5.0
"""For one answer over HTTP."""
_SKEW: Final = 5.0
_FAR: Final = 60.0
"""Seconds between two clocks: what is told, and from where on tokens are refused (``access.jwt.clock_skew``)."""

Act = Callable[[], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """``check``: the stable word of its findings.  ``what``: for the sentence of one that takes too long.  ``late``:
    how bad that is."""

    check: str
    what: str
    act: Act
    late: Level = Level.FAIL


@dataclass
class Clocks:
    """What servers say the time is, held against ours. ``skews``: seconds that ours is ahead, by who said so."""

    skews: dict[str, float] = field(default_factory=dict)

    def hear(self, who: str, headers: Mapping[str, str], sent: float) -> None:
        """``sent``: Unix time of the request; a Date has whole seconds, so the middle of one is taken."""
        said = email.utils.parsedate_tz(headers.get("date", ""))
        if said is not None:
            self.skews[who] = (sent + time.time()) / 2 - email.utils.mktime_tz(said) - 0.5

    def found(self) -> Finding:
        built = Path(__file__).stat().st_mtime
        if time.time() < built - 86_400:
            return Finding(Level.FAIL, "clock", "the clock is before the time of this installation; set it (NTP)")
        if not self.skews:
            return Finding(Level.OK, "clock", "no server here said what time it is, so the clock was held against none")
        who, worst = max(self.skews.items(), key=lambda one: abs(one[1]))
        level = Level.FAIL if abs(worst) > _FAR else Level.WARN if abs(worst) > _SKEW else Level.OK
        if level is Level.OK:
            return Finding(level, "clock", f"within {_SKEW:g} seconds of {', '.join(self.skews)}")
        way = "ahead of" if worst > 0 else "behind"
        return Finding(level, "clock", f"{abs(worst):.0f} seconds {way} {who}; set one of the two clocks (NTP)")


def of_stores(file: SpecFile, home: Home, clocks: Clocks) -> Iterator[Check]:
    """Where the home is, or the spec says that, they are."""
    spec = file.spec
    models = [parse(one.model).kind for one in spec.endpoints.values() if one.model]
    if spec.tracking or any(one not in (Kind.PATH, Kind.CLASS) for one in models):
        yield Check("registry", without_secrets(home.tracking), lambda: _registry(home, clocks))
    if watching.has_state():
        yield Check("state", without_secrets(home.state), lambda: _state(home))
    if "://" in home.events and watching.has_events():
        yield Check("events", without_secrets(home.events), lambda: _events(home))


def checks(file: SpecFile, clocks: Clocks) -> Iterator[Check]:
    """Everything else."""
    spec = file.spec
    if spec.redis:
        yield Check("redis", without_secrets(spec.redis), lambda: _redis(file))
    for name, endpoint in spec.endpoints.items():
        yield from _of_endpoint(file, name, endpoint, clocks)
    jwt = spec.access.jwt
    if jwt is not None and not jwt.secret and (not jwt.jwks or "://" in jwt.jwks):
        url = jwt.jwks or f"{jwt.issuer.rstrip('/')}/.well-known/openid-configuration"
        yield Check(
            "issuer", without_secrets(url), lambda: _get("issuer", file.at("access", "jwt"), url, clocks, ca=jwt.ca)
        )
    if spec.traces.otlp:
        yield Check("traces", without_secrets(spec.traces.otlp), lambda: _collector(file))


def _of_endpoint(file: SpecFile, name: str, endpoint: Endpoint, clocks: Clocks) -> Iterator[Check]:
    upstream, llm = specs_upstream.upstream(name, endpoint), endpoint.llm
    if upstream is not None:
        for address in upstream.remote.addresses:
            where = f"{file.at('endpoints', name, 'upstream')}: {address}"
            yield Check("upstream", str(address), functools.partial(_upstream, where, upstream, address))
    if llm is not None and llm.base_url:
        where = file.at("endpoints", name, "llm", "base_url")
        yield Check("llm", without_secrets(llm.base_url), functools.partial(_llm, where, llm, clocks))


def _there(url: str) -> bool:
    """False for SQLite in a file that is made at the first start: looking at it would make it now."""
    name = url.removeprefix("sqlite:///").partition("?")[0]
    return name == url or Path(name).exists()


def _registry(home: Home, clocks: Clocks) -> Iterator[Finding]:
    where = without_secrets(home.tracking)
    if not _there(home.tracking):
        yield Finding(Level.OK, "registry", f"{where} is made when it is first needed")
        return
    try:
        count = len(stores.registry(home).models())
    except FairleadError as error:
        yield Finding(Level.FAIL, "registry", str(error))
        return
    yield Finding(Level.OK, "registry", f"{where} answers; models in it: {count}")
    if home.tracking.startswith("http"):
        began = time.time()
        answer = httpx.get(f"{home.tracking.rstrip('/')}/health", timeout=_SECONDS)
        clocks.hear("the registry", answer.headers, began)


def _state(home: Home) -> Iterator[Finding]:
    where = without_secrets(home.state)
    if not _there(home.state):
        yield Finding(Level.OK, "state", f"{where} is made when it is first needed")
        return
    try:
        stores.state(home).holder("controller")
    except FairleadError as error:
        yield Finding(Level.FAIL, "state", str(error))
        return
    yield Finding(Level.OK, "state", f"{where} answers")


def _events(home: Home) -> Iterator[Finding]:
    try:
        stores.events(home).frame("doctor", since_ms=round(time.time() * 1000), limit=1, features=False)
    except FairleadError as error:
        yield Finding(Level.FAIL, "events", str(error))
        return
    yield Finding(Level.OK, "events", f"{without_secrets(home.events)} answers")


def _redis(file: SpecFile) -> Iterator[Finding]:
    async def asked(url: str) -> None:
        store = plugins.load("fairlead.limits", url.partition("://")[0])(url)
        try:
            await store.take([])
        finally:
            await store.close()

    try:
        asyncio.run(asked(secrets.expanded(file.spec.redis)))
    except FairleadError as error:
        yield Finding(Level.FAIL, "redis", f"{file.at('redis')}: {error}; start it, or correct the address")
        return
    yield Finding(Level.OK, "redis", f"{without_secrets(file.spec.redis)} answers")


def _upstream(where: str, upstream: Upstream, address: Address) -> Iterator[Finding]:
    async def asked() -> str:
        place = replace(upstreams.place(upstream, SystemClock()), address=address)
        transport = plugins.load("fairlead.upstreams", address.scheme)(place)
        try:
            found = await transport.describe()
        finally:
            transport.close()
        return ", ".join(f"{one.name} {one.datatype}" for one in found.inputs) or "what it does not name"

    try:
        takes = asyncio.run(asked())
    except (Unreached, Garbled, FairleadError, OSError) as error:
        why = str(error) or cause(error)
        yield Finding(Level.FAIL, "upstream", f"{where}: {why}; start that server, or take the address out")
        return
    yield Finding(Level.OK, "upstream", f"{where} has {upstream.remote.model}, which takes {takes}")


def _llm(where: str, llm: Llm, clocks: Clocks) -> Iterator[Finding]:
    token = secrets.secret(llm.token).reveal() if llm.token else ""
    yield from _get("llm", where, f"{llm.base_url.rstrip('/')}/models", clocks, token)


def _get(check: str, where: str, url: str, clocks: Clocks, token: str = "", ca: str = "") -> Iterator[Finding]:
    began, shown = time.time(), without_secrets(url)
    try:
        trust = ssl.create_default_context(cafile=ca) if ca else True
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = httpx.get(url, headers=headers, timeout=_SECONDS, verify=trust)
    except (httpx.HTTPError, OSError, ValueError) as error:
        told = f"{where}: {shown} does not answer: {cause(error)}; start it, or correct the address"
        yield Finding(Level.FAIL, check, told)
        return
    clocks.hear(shown, answer.headers, began)
    if answer.status_code in (401, 403):
        yield Finding(Level.FAIL, check, f"{where}: {shown} refuses the token ({answer.status_code}); renew it")
    elif answer.status_code >= 400:
        told = f"{where}: {shown} answers {answer.status_code}; is it the right address?"
        yield Finding(Level.WARN if check == "llm" else Level.FAIL, check, told)
    else:
        yield Finding(Level.OK, check, f"{where}: {shown} answers")


def _collector(file: SpecFile) -> Iterator[Finding]:
    """Any answer will do: a collector takes nothing but traces. Without one answers go out all the same."""
    url = file.spec.traces.otlp
    shown = without_secrets(url)
    try:
        httpx.get(url, timeout=_SECONDS)
    except httpx.HTTPError as error:
        told = f"{file.at('traces', 'otlp')}: {shown} does not answer, and traces are lost: {cause(error)}"
        yield Finding(Level.WARN, "traces", told)
    else:
        yield Finding(Level.OK, "traces", f"{shown} answers")
