"""What a spec makes of limits, and what of it contradicts itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

from fairlead.contracts.errors import MissingExtra, UsageError
from fairlead.contracts.limits import Limits, Measure, Quota, Rate
from fairlead.kit import limits as texts
from fairlead.kit import plugins
from fairlead.kit.gcra import burst_of
from fairlead.kit.spec.ledger import TokenLimits
from fairlead.kit.spec.limits import Limited
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Spec
from fairlead.serve.limits.rules import EndpointLimits, Rules
from fairlead.wiring import specs_ledger

Path = tuple[str | int, ...]
Placed = tuple[Path, Rate | Quota]
"""A limit, and where it stands."""


def rules(spec: Spec) -> Rules:
    """What the limiter takes. ``check`` has seen the spec."""
    return Rules(
        limits(spec.access.limits),
        {name: limits(one) for name, one in spec.access.tenants.items()},
        {
            name: EndpointLimits(limits(one.access), limits(one.access.per_caller), token_limits(one.limits))
            for name, one in spec.endpoints.items()
        },
        project=spec.project,
        closed=spec.access.when_down == "closed",
    )


def limits(asked: Limited) -> Limits:
    """Raises UsageError for a text that is none."""
    found = [one for _, one in _placed(asked, ())]
    return Limits(
        tuple(one for one in found if isinstance(one, Rate)),
        tuple(one for one in found if isinstance(one, Quota)),
        asked.concurrency or 0,
    )


def token_limits(asked: TokenLimits | None) -> Limits:
    """Those of a language model. Raises UsageError for a text that is none."""
    if asked is None:
        return Limits()
    found: list[Rate] = []
    if asked.requests_per_minute:
        rate = texts.rate(f"{asked.requests_per_minute}/min")
        found.append(replace(rate, burst=max(1.0, rate.amount // 10)))
    if asked.tokens_per_minute:
        rate = texts.rate(f"{asked.tokens_per_minute} tokens/min")
        found.append(replace(rate, burst=rate.amount))
    return Limits(tuple(found))


def check(file: SpecFile) -> None:
    """Raises UsageError for limits that are none, or contradict each other, naming the lines; MissingExtra for Redis
    without its library.
    """
    specs_ledger.check(file)
    access = file.spec.access
    _check(file, access.limits, ("access", "limits"))
    for name, one in access.tenants.items():
        _check(file, one, ("access", "tenants", name))
    for name, endpoint in file.spec.endpoints.items():
        _check(file, endpoint.access, ("endpoints", name, "access"))
        _check(file, endpoint.access.per_caller, ("endpoints", name, "access", "per_caller"))
        try:
            token_limits(endpoint.limits)
        except UsageError as error:
            raise UsageError(f"{file.at('endpoints', name, 'limits')}: {error}") from None
    if file.spec.redis and not plugins.installed("redis"):
        raise MissingExtra(f"{file.at('redis')} needs a library: pip install 'fairlead[redis]'")
    if "when_down" in access.model_fields_set and not file.spec.redis:
        raise UsageError(
            f"{file.at('access', 'when_down')} is about limits that are shared, and the spec has no redis; leave it out"
        )


def check_unknown(spec: Spec) -> None:
    """Where nobody is asked who they are. Raises UsageError for limits of callers, which would be those of nobody."""
    specs_ledger.check_unknown(spec)
    of_callers = {"access.limits": spec.access.limits}
    of_callers |= {f"access.tenants.{name}": one for name, one in spec.access.tenants.items()}
    of_callers |= {f"endpoints.{name}.access.per_caller": one.access.per_caller for name, one in spec.endpoints.items()}
    for name, one in of_callers.items():
        if one.model_fields_set:
            raise UsageError(
                f"{name} is what a caller may have, and access.required, that nobody is asked who they are: say "
                "access: {required: true}, or give --access or --no-access"
            )


def _check(file: SpecFile, asked: Limited, path: Path) -> None:
    for part in ("burst", "rows_burst", "bytes_burst"):
        of = {"burst": "rate"}.get(part, part.removesuffix("_burst"))
        many = "," in asked.rate
        if getattr(asked, part) and " burst " in getattr(asked, of):
            raise UsageError(
                f"{file.at(*path, part)} is {getattr(asked, part)}, and {of} says a burst of its own; leave one of "
                "them out"
            )
        if getattr(asked, part) and (not getattr(asked, of) or (of == "rate" and many)):
            what = "several rates; give one" if getattr(asked, of) else f"no {of}; give one, or leave it out"
            raise UsageError(f"{file.at(*path, part)} is {getattr(asked, part)}, and there is {what}")
    found = _placed(asked, path, lambda where, error: UsageError(f"{file.at(*where)}: {error}"))
    for where, one in found:
        if one.measure is Measure.TOKENS and not any(endpoint.llm for endpoint in file.spec.endpoints.values()):
            raise UsageError(f"{file.at(*where)} counts tokens, and no endpoint is a language model; leave it out")
    for (one_at, one), (other_at, other) in combinations(found, 2):
        if one.measure is not other.measure:
            continue
        if isinstance(one, Rate) and isinstance(other, Rate):
            _check_rates(file, (one_at, one), (other_at, other))
        elif isinstance(one, Rate) and isinstance(other, Quota) and burst_of(one) > other.amount:
            burst = (*path, {Measure.REQUESTS: "burst"}.get(one.measure, f"{one.measure}_burst"))
            raise UsageError(
                f"{file.at(*(burst if one.burst else one_at))} lets {float(burst_of(one)):g} {one.measure} come at "
                f"once, and {file.at(*other_at)} allows {other.amount} in a whole {other.period}; lower the burst"
            )
        elif isinstance(one, Quota) and isinstance(other, Quota) and one.period is other.period:
            raise UsageError(
                f"{file.at(*one_at)} and {file.at(*other_at)} are two quotas of {one.measure} in one {one.period}; "
                "keep the smaller"
            )


def _check_rates(file: SpecFile, one: tuple[Path, Rate], other: tuple[Path, Rate]) -> None:
    """Refuse two rates of which one never decides anything."""
    for (at, first), (void_at, void) in ((one, other), (other, one)):
        if _each(first) <= _each(void) and burst_of(first) <= burst_of(void):
            raise UsageError(
                f"{file.at(*void_at)} allows more than {file.at(*at)} does, at every moment: it never decides "
                "anything; leave it out"
            )


def _each(rate: Rate) -> Fraction:
    return Fraction(repr(rate.amount)) / Fraction(repr(rate.seconds))


def _placed(
    asked: Limited, path: Path, told: Callable[[Path, UsageError], UsageError] = lambda _, error: error
) -> list[Placed]:
    found: list[Placed] = []

    def add(where: Path, read: Callable[[], Rate | Quota], measure: Measure | None = None) -> None:
        try:
            one = read()
        except UsageError as error:
            raise told(where, error) from None
        if measure is not None and one.measure is not measure:
            raise told(where, UsageError(f"it counts {one.measure}; expected {measure}"))
        found.append((where, one))

    for text in _each_of(asked.rate):
        add((*path, "rate"), lambda text=text: texts.rate(text, asked.burst), Measure.REQUESTS)  # type: ignore[misc]
    for measure, given, burst in (
        (Measure.ROWS, asked.rows, asked.rows_burst),
        (Measure.BYTES, asked.bytes, asked.bytes_burst),
    ):
        if given:
            add((*path, measure.value), lambda g=given, m=measure, b=burst: texts.rate(_of(g, m), b), measure)  # type: ignore[misc]
    for text in _each_of(asked.quota):
        add((*path, "quota"), lambda text=text: texts.quota(text))  # type: ignore[misc]
    return found


def _each_of(given: str) -> list[str]:
    return given.split(",") if given else []


def _of(text: str, measure: Measure) -> str:
    """``10k/min`` where rows are meant is ``10k rows/min``; a text that names its measure stays."""
    amount, slash, window = text.partition("/")
    named = any(letter.islower() and letter != "k" for letter in amount) or "B" in amount
    return text if named or not slash else f"{amount.strip()} {measure}/{window}"
