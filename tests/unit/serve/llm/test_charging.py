"""Texts that become vectors count against limits as answers do, and what fails costs no tokens."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.embedder import Embedded
from fairlead.contracts.errors import ModelFailed, RateLimited
from fairlead.contracts.limits import Limits, Measure, Rate
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import EndpointLimits, Rules
from fairlead.serve.llm.ask import Notes
from fairlead.serve.llm.charging import Charging
from fairlead.testing.clock import ManualClock

ANNA = Caller("anna", "key", ())


class Rig:
    def __init__(self, *rates: Rate) -> None:
        self.clock = ManualClock()
        rules = Rules(endpoints={"search": EndpointLimits(either=Limits(rates))} if rates else {})
        self.limiter = Limiter(rules, self.clock, lambda *_: None)
        self.charging = Charging(self.limiter, "search")
        self.error: Exception | None = None
        self.tokens = 3

    async def ask(self, *texts: str, notes: Notes | None = None) -> Embedded:
        return await self.charging.embed(texts, ANNA, 100, notes or Notes(), self.embed)

    async def embed(self) -> Embedded:
        if self.error is not None:
            raise self.error
        return Embedded(np.zeros((1, 2), np.float32), (self.tokens,))

    def left(self) -> int:
        account = self.limiter.permit(ANNA, "search").account
        assert account is not None
        return account.tokens[0].left(int(self.clock.now() * 1e9), self.clock.wall_ms())[0]


async def test_requests_are_counted_and_told() -> None:
    rig, notes = Rig(Rate(60, 60.0, Measure.REQUESTS, 2)), Notes()
    await rig.ask("a", notes=notes)
    await rig.ask("a")
    assert notes.allowance is not None
    with pytest.raises(RateLimited):
        await rig.ask("a")
    rig.clock.advance(1)
    await rig.ask("a")


async def test_tokens_are_corrected_when_they_are_known() -> None:
    rig = Rig(Rate(600, 60.0, Measure.TOKENS, 100))
    await rig.ask("x" * 200)
    assert rig.left() == 97
    with pytest.raises(RateLimited):
        await rig.ask("x" * 400)
    assert rig.left() == 97


async def test_what_fails_costs_no_tokens() -> None:
    rig = Rig(Rate(600, 60.0, Measure.TOKENS, 100))
    rig.error = ModelFailed("x")
    with pytest.raises(ModelFailed):
        await rig.ask("x" * 200)
    assert rig.left() == 100


@pytest.mark.parametrize("charging", [Charging(None, "search"), Rig().charging])
async def test_without_limits_nothing_is_counted(charging: Charging) -> None:
    rig = Rig()
    found = await charging.embed(("a",), None, 1, Notes(), rig.embed)
    assert found.tokens == (3,)
