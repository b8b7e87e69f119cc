"""``fairlead ledger``."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from fairlead.cli.output import AsJson, HomeOption, emit, table
from fairlead.cli.where import home_of, spec_path
from fairlead.contracts.errors import UsageError
from fairlead.contracts.ledger import Spend, Window
from fairlead.kit.clock import SystemClock
from fairlead.kit.spec import read as files
from fairlead.serve.llm.ledger import windows
from fairlead.wiring import access, auditing, ledgering, specs_ledger, statements, stores, watching

app = typer.Typer(
    help="What language models cost, and what is left of budgets.", no_args_is_help=True, add_completion=False
)

Per = Literal["hour", "day", "week", "month", "total", "answer"]
Since = Annotated[str, typer.Option(metavar="DATE", help="From this day on, as 2026-01-31 (UTC).")]
Until = Annotated[str, typer.Option(metavar="DATE", help="Up to this day, which is no more in it.")]


@app.command()
def show(home: HomeOption = None, as_json: AsJson = False) -> None:
    """How every budget stands, and what was spent this month, by tenant, key and endpoint."""
    path = spec_path()
    budgets = specs_ledger.ledgering(files.read(path).spec).budgets if path else ()
    where = home_of(home)
    with ledgering.opened(where) as store:
        now = SystemClock.wall_ms()
        brought = access.brought(stores.state(where)) if watching.has_state() else {}
        balances = [statements.standing(one, now, budgets, brought) for one in store.balances()]
        since, spent = statements.this_month(store, now)
    text = table(balances, empty="no budget has been used yet")
    text += "\n\nThis month:\n" + table(spent, empty="nothing was spent")
    emit({"balances": balances, "since": statements.moment(since), "spent": spent}, text, as_json)


@app.command()
def statement(
    since: Since = "",
    until: Until = "",
    per: Annotated[Per, typer.Option(help="A line for each of these; answer: one for each answer.")] = "day",
    zone: Annotated[str, typer.Option(help="Time zone of the windows, as Europe/Berlin.")] = "UTC",
    by: Annotated[str, typer.Option(help="What is told apart, of tenant, key, endpoint, model.")] = (
        "tenant,key,endpoint,model"
    ),
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """What was spent, as CSV or JSON: made of the log, line by line."""
    names = tuple(one.strip() for one in by.split(",") if one.strip())
    if wrong := [one for one in names if one not in statements.BY]:
        raise UsageError(f"--by names {wrong[0]!r}; expected some of {', '.join(statements.BY)}")
    begins = windows.day(since) if since else 0
    ends = windows.day(until) if until else None
    with ledgering.opened(home_of(home)) as store:
        spends = store.spends(begins, ends)
        rows = _each(spends) if per == "answer" else statements.statement(spends, names, Window(per), zone)
        if as_json:
            emit({"statement": list(rows)}, "", as_json)
        else:
            _csv(rows)


@app.command()
def reset(
    balance: Annotated[str, typer.Argument(metavar="BALANCE", help="As `fairlead ledger show` names it.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Begin the present window of a budget afresh. What was spent stays in the log, and so does this."""
    where = home_of(home)
    now = SystemClock.wall_ms()
    with ledgering.opened(where) as store:
        before = store.reset(balance, where.user, now)
    was = statements.standing(before, now)
    auditing.act(where, "ledger.reset", balance=balance, settled=was["settled"])
    emit({"balance": balance, "was": was}, f"{balance} begins afresh; it was {was['settled']} {was['unit']}", as_json)


@app.command()
def rebuild(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Make the balances out of the log alone, and say what was different."""
    where = home_of(home)
    now = SystemClock.wall_ms()
    with ledgering.opened(where) as store:
        before = {one.key: one.settled for one in store.balances()}
        after = store.rebuild()
    changed = [
        statements.standing(one, now) | {"was": before.get(one.key, 0)}
        for one in after
        if one.settled != before.get(one.key, 0)
    ]
    auditing.act(where, "ledger.rebuild", changed=str(len(changed)))
    text = table(changed, empty=f"{len(after)} balances are as the log has them")
    emit({"balances": len(after), "changed": changed}, text, as_json)


def _each(spends: Iterator[Spend]) -> Iterator[dict[str, Any]]:
    return (statements.answer(one) for one in spends)


def _csv(rows: Any) -> None:
    """Written as it is read: a statement may be long."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    out = io.StringIO()
    writer = csv.DictWriter(out, first.keys(), lineterminator="\n")
    writer.writeheader()
    for row in itertools.chain([first], rows):
        writer.writerow({name: _harmless(cell) for name, cell in row.items()})
        if out.tell() > 2**16:
            typer.echo(out.getvalue(), nl=False)
            out.seek(0)
            out.truncate()
    typer.echo(out.getvalue(), nl=False)


def _harmless(cell: Any) -> Any:
    """A spreadsheet takes a text that begins so for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell
