from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.ledger import NANO, Budget, Price, Window
from fairlead.contracts.limits import Limits, Measure, Rate
from fairlead.kit.spec.read import parse
from fairlead.wiring import specs_ledger, specs_limits
from fairlead.wiring.llm import specs as llms

CHAT = "endpoints:\n  chat: {llm: {engine: echo}}\n"
PRICED = "prices: [{model: chat, input: 0.15, output: 0.6}]\n" + CHAT


def test_budgets_and_prices_are_read() -> None:
    file = parse(
        "access: {required: true}\n"
        "budgets:\n"
        "  - {tenant: acme, amount: 50 USD}\n"
        "  - {key: '*', amount: 5M, per: day, zone: Europe/Berlin, hard: false}\n"
        "prices:\n"
        "  - {model: chat, since: '2026-01-01', input: 0.15, cached: '0.075', output: 0.6}\n"
        "  - {model: '*', input: 1, output: 2, reasoning: 3}\n"
        "ledger: {when_down: open, days: 30}\n"
        "project: shop\n"
        "endpoints:\n  chat: {llm: {engine: echo}, budgets: [{amount: 10 USD, per: total, name: cap}]}\n",
        "f.yaml",
    )
    specs_ledger.check(file)
    found = specs_ledger.ledgering(file.spec)
    assert found.budgets == (
        Budget("acme-usd", 50 * NANO, Window.MONTH, "USD", tenant="acme"),
        Budget("each-key-tokens", 5_000_000, Window.DAY, zone="Europe/Berlin", hard=False, key="*"),
        Budget("cap", 10 * NANO, Window.TOTAL, "USD", endpoint="chat"),
    )
    assert found.prices == (
        Price("chat", 1_767_225_600_000, "USD", 150_000_000, 75_000_000, 600_000_000, 600_000_000),
        Price("*", 0, "USD", NANO, NANO, 2 * NANO, 3 * NANO),
    )
    assert (found.closed, found.days, found.project, found.wanted) == (False, 30, "shop", True)


def test_a_spec_that_says_nothing() -> None:
    found = specs_ledger.ledgering(parse(CHAT, "f.yaml").spec)
    assert not found.wanted
    assert found.closed


def test_prices_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("- {model: chat, input: 0.15, output: 0.6}\n- {model: big, currency: EUR, input: 1, output: 2}\n")
    file = parse(f"prices_file: {path}\nbudgets: [{{amount: 5 USD}}]\n{CHAT}", "f.yaml")
    specs_ledger.check(file)
    assert [one.model for one in specs_ledger.prices(file.spec)] == ["chat", "big"]
    path.write_text('[{"model": "chat", "input": 0.15, "output": 0.6}]')
    assert len(specs_ledger.prices(file.spec)) == 1
    for wrong, said in (
        ("{}", "expected a list of prices"),
        ("- {model: chat, input: 0.15}", "prices.yaml:1: output: Field required"),
        ("\n- {model: chat, input: -1, output: 1}", "price '-1.0' is none"),
        ("- [", "this is not YAML"),
    ):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=said):
            specs_ledger.check(file)
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        specs_ledger.prices(file.spec)
    path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        specs_ledger.check(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgets: [{amount: 5 USD}]\n" + CHAT, "f.yaml:1: budgets[0] counts USD, and the model 'chat' has no price"),
        ("budgets: [{amount: 5 EUR}]\n" + PRICED, "f.yaml:1: budgets[0] counts EUR, and the model 'chat' has a"),
        ("budgets: [{amount: 5 bucks}]\n" + CHAT, "f.yaml:1: budgets[0]: amount '5 bucks' is none"),
        ("budgets: [{amount: 5k, zone: Mars}]\n" + CHAT, "f.yaml:1: budgets[0]: time zone 'Mars' is not known"),
        ("budgets: [{amount: 5k, endpoint: chta}]\n" + CHAT, "did you mean chat?"),
        ("budgets: [{amount: 5k}, {amount: 6k}]\n" + CHAT, "f.yaml:1: budgets[1] is the second budget 'all-tokens'"),
        ("prices: [{model: chat, input: -1, output: 1}]\n" + CHAT, "f.yaml:1: prices: prices[0]: price '-1.0' is none"),
        ("prices: [{model: chat, since: soon, input: 1, output: 1}]\n" + CHAT, "date 'soon' is none"),
        ("budgets: [{amount: 5k}]\nendpoints: {c: {model: m}}", "f.yaml:1: budgets is for language models"),
        ("endpoints:\n  c: {model: m, limits: {tokens_per_minute: 5k}}", "f.yaml:2: endpoints.c.limits is for a"),
        ("endpoints:\n  c: {model: m, budgets: [{amount: 5k}]}", "f.yaml:2: endpoints.c.budgets is for a language"),
        (
            CHAT + "  both: {route: {replicas: [chat]}, budgets: [{amount: 5k}]}",
            "f.yaml:3: endpoints.both.budgets pays an engine, and both has none: set it at the endpoints behind it",
        ),
        (
            "budgets:\n" + "".join(f"- {{amount: 5k, name: b{n}}}\n" for n in range(9)) + CHAT,
            "f.yaml:1: budgets: 9 budgets can hold for one answer of chat; 8 are the most",
        ),
    ],
)  # fmt: skip
def test_what_contradicts_itself(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        specs_ledger.check(parse(text, "f.yaml"))
    assert said in str(caught.value)


def test_budgets_of_callers_need_callers() -> None:
    file = parse("budgets: [{key: '*', amount: 5k}]\n" + CHAT, "f.yaml")
    with pytest.raises(UsageError, match=r"^budgets\[0\] is what a caller may spend"):
        specs_limits.check_unknown(file.spec)
    here = parse("endpoints:\n  chat: {llm: {engine: echo}, budgets: [{tenant: a, amount: 5k}]}", "f.yaml")
    with pytest.raises(UsageError, match=r"^endpoints.chat.budgets\[0\] is what"):
        specs_limits.check_unknown(here.spec)


def test_limits_of_a_language_model() -> None:
    file = parse(
        "endpoints:\n  chat: {llm: {engine: echo, max_tokens: 900, default_tokens: 500}, "
        "limits: {tokens_per_minute: 60k, requests_per_minute: 600, max_tokens: 400}}",
        "f.yaml",
    )
    specs_limits.check(file)
    assert specs_limits.rules(file.spec).endpoints["chat"].either == Limits(
        (Rate(600, 60, burst=60), Rate(60_000, 60, Measure.TOKENS, 60_000))
    )
    (wanted,) = llms.wanted(file.spec)
    assert (wanted.most, wanted.default) == (400, 400)
    wrong = parse("endpoints:\n  chat: {llm: {engine: echo}, limits: {tokens_per_minute: many}}", "f.yaml")
    with pytest.raises(UsageError, match=r"^f.yaml:2: endpoints.chat.limits: limit 'many tokens/min' is none"):
        specs_limits.check(wrong)
