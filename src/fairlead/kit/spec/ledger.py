"""What the spec says about money: budgets, prices, and the limits of a language model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from fairlead.kit.spec.part import Part

BudgetName = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")]
Whose = Annotated[str, StringConstraints(max_length=256)]
Number = float | str
"""A price: a number, or text."""


class BudgetHere(Part):
    """How much may be spent at one endpoint in each window of the calendar."""

    amount: str | int = Field(examples=["50 USD"])
    """Money, `50 USD`, or tokens, `5M tokens`; in nano-units exactly."""
    per: Literal["hour", "day", "week", "month", "total"] = "month"
    """Window of the calendar; `total`: all time."""
    zone: str = Field(default="UTC", max_length=64, examples=["Europe/Berlin"])
    """Time zone of the calendar."""
    hard: bool = True
    """What does not fit is refused; else it is told (metric, log) and goes on."""
    tenant: Whose = Field(default="", examples=["acme"])
    """Of this tenant; `*`: of each tenant one."""
    key: Whose = Field(default="", examples=["*"])
    """Of the caller of this name; `*`: of each caller one."""
    name: BudgetName = Field(default="", examples=["acme"])
    """What refusals, metrics and `fairlead ledger` call it; empty: made of the rest."""


class Budget(BudgetHere):
    """How much may be spent in each window of the calendar."""

    endpoint: Whose = Field(default="", examples=["chat"])
    """At this endpoint; `*`: at each endpoint one; empty: at all together."""


class Price(Part):
    """What a model costs from a day on, for a million tokens of each class."""

    model: str = Field(min_length=1, max_length=256, examples=["chat"])
    """An endpoint, or a model's name at the other server; `*`: every one that is not named."""
    since: str = Field(default="1970-01-01", max_length=40, examples=["2026-01-01"])
    """From then on (UTC); an earlier price of the model holds until then."""
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    """Code of three letters."""
    input: Number = Field(examples=[0.15])
    """A million tokens of the prompt that nobody had cached."""
    cached: Number | None = Field(default=None, examples=[0.075])
    """A million tokens of the prompt that were cached; null: as `input`."""
    output: Number = Field(examples=[0.6])
    """A million tokens of the answer."""
    reasoning: Number | None = Field(default=None, examples=[0.6])
    """A million tokens of reasoning; null: as `output`."""


class Ledger(Part):
    """Where spending is counted."""

    when_down: Literal["closed", "open"] = "closed"
    """While it cannot be counted: answers that a hard budget holds for are refused (503), or made all the same."""
    days: int = Field(default=0, ge=0, le=36_500)
    """How long the log of what was spent is kept; 0: for ever."""
    shared: bool = False
    """Budgets hold for all servers of this `state` together: each takes shares of them."""


class TokenLimits(Part):
    """How much each caller may ask of a language model; without callers, all together."""

    tokens_per_minute: str | int = Field(default="", examples=["60k"])
    """Tokens of prompts and answers, evenly; as many may come at once."""
    requests_per_minute: str | int = Field(default="", examples=["600"])
    """Requests, evenly; a tenth of them may come at once."""
    max_tokens: int = Field(default=0, ge=0, le=10_000_000, examples=[1024])
    """Tokens of an answer, at most, as `llm.max_tokens` says it."""
