"""``fairlead keys``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fairlead.cli.output import AsJson, HomeOption, emit, table
from fairlead.cli.where import home_of
from fairlead.contracts.errors import UsageError
from fairlead.contracts.ledger import BROUGHT, EACH, Budget
from fairlead.contracts.limits import Limits
from fairlead.kit import limits
from fairlead.kit.clock import SystemClock
from fairlead.kit.money import budget as read_budget
from fairlead.kit.scopes import scope as read_scope
from fairlead.kit.spec.part import seconds
from fairlead.serve.access.keys import Key
from fairlead.wiring import access, auditing
from fairlead.wiring.stores import state

app = typer.Typer(
    help="Keys of callers: what they may call, how much, and until when.", no_args_is_help=True, add_completion=False
)

_LONGEST_DAYS = 36_500
_EXAMPLES = {"--budget": "money such as '20 USD/month'", "--token-budget": "tokens such as 5M/day"}


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Who it is for; it stands in the audit log and in metrics.")],
    scope: Annotated[
        list[str],
        typer.Option(help="ENDPOINT:ACTION or ENDPOINT:ACTION:VERSION, as churn:predict or *:metrics; again for more."),
    ],
    rate: Annotated[list[str] | None, typer.Option(help="200/s, 10k rows/min, 64MB/s; again for more.")] = None,
    quota: Annotated[list[str] | None, typer.Option(help="5M/day, 100k rows/month; again for more.")] = None,
    concurrency: Annotated[int, typer.Option(help="Calls at once; 0: as many as there are.", min=0)] = 0,
    budget: Annotated[
        list[str] | None, typer.Option(help="Money for language models: '20 USD/month'; again for more.")
    ] = None,
    token_budget: Annotated[list[str] | None, typer.Option(help="Tokens of them: 5M/day; again for more.")] = None,
    tenant: Annotated[str, typer.Option(help="With whom it shares a tenant's limits.")] = "",
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it holds: 90d, 12h; empty: for ever.")] = "",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once and kept nowhere: only its SHA-256 is."""
    now = SystemClock.wall_ms()
    where = home_of(home)
    asked = Key(
        name,
        tuple(dict.fromkeys(map(read_scope, scope))),
        (),
        now,
        expires_ms=now + _ms(expires, "--expires") if expires else 0,
        tenant=tenant,
        limits=Limits(tuple(map(limits.rate, rate or ())), tuple(map(limits.quota, quota or ())), concurrency),
        by=where.user,
        budgets=_budgets(budget or [], token_budget or []),
    )
    key, text = access.create(where, asked)
    about = {"scopes": _scopes(key), "expires": access.moment(key.expires_ms)}
    auditing.act(where, "keys.create", key=key.name, id=key.secrets[-1].id, **about)
    _show(key, text, as_json)


@app.command("list")
def list_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every key and how it stands; never its secret."""
    found, broken = access.known(state(home_of(home)))
    now = SystemClock.wall_ms()
    text = table([_row(key, now) for key in found], empty="there is no key; make one: fairlead keys create")
    emit({"keys": [access.document(key, now) for key in found], "broken": broken}, "\n".join([text, *broken]), as_json)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="NAME|ID", help="A key, or one secret of it.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take a key back: every server refuses it within a second."""
    where = home_of(home)
    found = access.revoke(where, key)
    auditing.act(where, "keys.revoke", key=found.name, asked=key)
    now = SystemClock.wall_ms()
    state_ = found.state(now)
    left = "" if state_ == "revoked" else f"; {found.name} is {state_}"
    emit(access.document(found, now), f"{key} is revoked{left}", as_json)


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key.")],
    overlap: Annotated[str, typer.Option(metavar="TIME", help="How long the old secret still holds: 24h, 30m, 0s.")] = (
        "24h"
    ),
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, shown once; the old one holds for a while, so that nobody is cut off."""
    where = home_of(home)
    key, text = access.rotate(where, name, _ms(overlap, "--overlap"))
    auditing.act(where, "keys.rotate", key=key.name, id=key.secrets[-1].id, overlap=overlap)
    _show(key, text, as_json)


def _show(key: Key, text: str, as_json: bool) -> None:
    now = SystemClock.wall_ms()
    said = f"{text}\n\nThis is {key.name}, for {_scopes(key)}. It is shown once: keep it where secrets are kept."
    emit({"key": text, **access.document(key, now)}, said, as_json)


def _row(key: Key, now_ms: int) -> dict[str, Any]:
    told = access.document(key, now_ms)
    limit = [
        *told["rates"],
        *told["quotas"],
        *told["budgets"],
        *([f"{key.limits.concurrency} at once"] if key.limits.concurrency else []),
    ]
    return {
        "name": key.name,
        "state": told["state"],
        "scopes": _scopes(key),
        "limits": ", ".join(limit),
        "tenant": key.tenant,
        "expires": told["expires"] or "never",
        "ids": ", ".join(told["ids"]),
    }


def _scopes(key: Key) -> str:
    return ", ".join(map(str, key.scopes))


def _budgets(money: list[str], tokens: list[str]) -> tuple[Budget, ...]:
    """Raises UsageError."""
    found = []
    for texts, option in ((money, "--budget"), (tokens, "--token-budget")):
        for text in texts:
            (amount, currency), window = read_budget(text)
            if bool(currency) is not (option == "--budget"):
                raise UsageError(f"{option} is {text[:40]!r}; expected {_EXAMPLES[option]}")
            found.append(Budget("key", amount, window, currency, key=EACH))
    if len({(one.currency, one.window) for one in found}) < len(found) or len(found) > BROUGHT:
        raise UsageError(f"a key has one budget of a currency in a window, and {BROUGHT} at most; leave some out")
    return tuple(found)


def _ms(text: str, option: str) -> int:
    """Milliseconds of ``90d``. Raises UsageError."""
    try:
        length = float(seconds(text))
    except ValueError:
        length = -1.0
    if not 0 <= length <= _LONGEST_DAYS * 86_400 or (option == "--expires" and not length):
        raise UsageError(f"{option} is {text[:40]!r}; expected a length of time such as 90d, 12h or 30m")
    return round(length * 1000)
