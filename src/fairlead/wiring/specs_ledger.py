"""What a spec makes of budgets and prices, and what of it contradicts itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from fairlead.contracts.errors import MissingExtra, UsageError
from fairlead.contracts.ledger import BROUGHT, EACH, LINES, Budget, Price, Window
from fairlead.kit import money, plugins
from fairlead.kit.config import nearest
from fairlead.kit.spec import document
from fairlead.kit.spec import ledger as parts
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint, Spec
from fairlead.serve.llm.ledger import windows
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.wiring.budgeting import Ledgering

Path_ = tuple[str | int, ...]

MOST: Final = LINES - BROUGHT
"""Budgets of a spec that can hold for one answer."""


def ledgering(spec: Spec) -> Ledgering:
    """What the ledger is built from. ``check`` has seen the spec."""
    asked = spec.ledger
    return Ledgering(
        tuple(one for _, one in _placed(spec)),
        prices(spec),
        spec.project,
        closed=asked.when_down == "closed",
        days=asked.days,
        shared=asked.shared,
        wanted=bool({"budgets", "prices", "prices_file", "ledger"} & spec.model_fields_set)
        or any(one.budgets for one in spec.endpoints.values()),
    )


def prices(spec: Spec) -> tuple[Price, ...]:
    """Those of the spec, and of its file. Raises UsageError."""
    found = [(f"prices[{place}]", one) for place, one in enumerate(spec.prices)]
    if spec.prices_file:
        found += _filed(Path(spec.prices_file).expanduser())
    made = []
    for where, one in found:
        try:
            made.append(_price(one))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    return tuple(made)


def check(file: SpecFile) -> None:
    """Raises UsageError for budgets and prices that are none, and for money that nothing can be paid with."""
    spec = file.spec
    for name, endpoint in spec.endpoints.items():
        for part in ("limits", "budgets"):
            if getattr(endpoint, part) and not endpoint.speaks:
                raise UsageError(
                    f"{file.at('endpoints', name, part)} is for a language model, and {name} is none; leave it out"
                )
        if endpoint.budgets and not _paid(endpoint):
            at = file.at("endpoints", name, "budgets")
            raise UsageError(f"{at} pays an engine, and {name} has none: set it at the endpoints behind it")
    chats = [name for name, one in spec.endpoints.items() if _paid(one)]
    if (spec.budgets or spec.prices or spec.prices_file) and not chats:
        part = next(part for part in ("budgets", "prices", "prices_file") if getattr(spec, part))
        raise UsageError(f"{file.at(part)} is for language models, and no endpoint is one; leave it out")
    if spec.ledger.shared and not plugins.installed("sqlalchemy"):
        raise MissingExtra(f"{file.at('ledger', 'shared')} needs a state store: pip install 'fairlead[registry]'")
    try:
        book = PriceBook(prices(spec))
    except UsageError as error:
        raise UsageError(f"{file.at('prices')}: {error}") from None
    names: Counter[tuple[str, str]] = Counter()
    for where, one in _placed(spec, file):
        names[one.name, one.window] += 1
        if names[one.name, one.window] > 1:
            raise UsageError(
                f"{file.at(*where)} is the second budget {one.name!r} in a {one.window}; give one of them a name"
            )
        _check(file, where, one, chats, book)
    for name in chats:
        holding = [one for _, one in _placed(spec) if one.endpoint in ("", EACH, name)]
        if _at_once(holding) > MOST:
            raise UsageError(
                f"{file.at('budgets')}: {_at_once(holding)} budgets can hold for one answer of {name}; {MOST} are the "
                "most: leave some of them out"
            )


def check_unknown(spec: Spec) -> None:
    """Where nobody is asked who they are. Raises UsageError for budgets of callers, which would be those of nobody."""
    for where, one in _placed(spec):
        if one.tenant or one.key:
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
            raise UsageError(
                f"{path} is what a caller may spend, and access.required, that nobody is asked who they are: say "
                "access: {required: true}, or give --access or --no-access"
            )


def _paid(endpoint: Endpoint) -> bool:
    """Whether it has an engine of its own, whose tokens cost something."""
    return endpoint.llm is not None or endpoint.embedding is not None


def _check(file: SpecFile, where: Path_, one: Budget, chats: list[str], book: PriceBook) -> None:
    if one.endpoint not in ("", EACH, *chats):
        raise UsageError(
            f"{file.at(*where, 'endpoint')} is {one.endpoint!r}, and no language model has this name"
            f"{nearest(one.endpoint, chats)}"
        )
    if not one.currency:
        return
    for name in chats if one.endpoint in ("", EACH) else [one.endpoint]:
        asked = file.spec.endpoints[name].llm
        price = book.price((name, asked.model if asked else ""), windows.FOREVER)
        if price is None or price.currency != one.currency:
            has = "has no price" if price is None else f"has a price in {price.currency}"
            raise UsageError(
                f"{file.at(*where)} counts {one.currency}, and the model {name!r} {has}; add one to prices: "
                f"{{model: {name}, currency: {one.currency}, input: 0.15, output: 0.6}}, 0 where nobody has to be paid"
            )


def _placed(spec: Spec, file: SpecFile | None = None) -> Iterator[tuple[Path_, Budget]]:
    """Every budget, and where it stands. Raises UsageError."""
    found: list[tuple[Path_, parts.BudgetHere, str]] = [
        (("budgets", place), one, one.endpoint) for place, one in enumerate(spec.budgets)
    ]
    for name, endpoint in spec.endpoints.items():
        found += [(("endpoints", name, "budgets", place), one, name) for place, one in enumerate(endpoint.budgets)]
    for where, one, endpoint_name in found:
        try:
            yield where, _budget(one, endpoint_name)
        except UsageError as error:
            raise UsageError(f"{file.at(*where)}: {error}" if file else str(error)) from None


def _budget(one: parts.BudgetHere, endpoint: str) -> Budget:
    amount = money.amount(str(one.amount))
    windows.zone(one.zone)
    whose = [
        f"each-{kind}" if name == EACH else name
        for kind, name in (("tenant", one.tenant), ("key", one.key), ("endpoint", endpoint))
        if name
    ]
    name = one.name or "-".join([*(whose or ["all"]), amount.currency.lower() or "tokens"])
    return Budget(
        name,
        amount.number,
        Window(one.per),
        amount.currency,
        one.zone,
        hard=one.hard,
        tenant=one.tenant,
        key=one.key,
        endpoint=endpoint,
    )


def _price(one: parts.Price) -> Price:
    given = money.nano(one.input), money.nano(one.output)
    return Price(
        one.model,
        windows.day(one.since),
        one.currency,
        given[0],
        given[0] if one.cached is None else money.nano(one.cached),
        given[1],
        given[1] if one.reasoning is None else money.nano(one.reasoning),
    )


def _filed(path: Path) -> list[tuple[str, parts.Price]]:
    try:
        text = path.read_text()
    except OSError as error:
        raise UsageError(f"prices_file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"prices_file {path} is not UTF-8 text") from None
    data, lines = document.parse(text, str(path))
    if not isinstance(data, list):
        raise UsageError(f"{path}: expected a list of prices, - {{model: chat, input: 0.15, output: 0.6}}")
    found = []
    for place, one in enumerate(data):
        where = f"{path}:{lines.get((place,), 1)}"
        try:
            found.append((where, parts.Price.model_validate_json(json.dumps(one))))
        except ValidationError as error:
            told = error.errors(include_url=False)[0]
            at = ".".join(map(str, told["loc"]))
            raise UsageError(f"{where}: {at}: {told['msg']}") from None
    return found


def _at_once(budgets: list[Budget]) -> int:
    """The most of them that can hold for one caller."""
    anyone = sum(one.tenant in ("", EACH) and one.key in ("", EACH) for one in budgets)
    tenants = Counter(one.tenant for one in budgets if one.tenant not in ("", EACH))
    keys = Counter(one.key for one in budgets if one.key not in ("", EACH) and one.tenant in ("", EACH))
    return anyone + max(tenants.values(), default=0) + max(keys.values(), default=0)
