from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead.contracts.engine import EngineTraits
from fairlead.contracts.errors import ContextTooLong, InputError
from fairlead.contracts.generation import Format, Generation, Message, Sampling, Tool, ToolCall
from fairlead.kit.fitting import too_long, unfit

EVERYTHING = EngineTraits("x", 100, tools=True, schemas=True, logprobs=5)
GOOD = Generation("g", "m", (Message("user", "hello \U0001f642"),), Sampling(logprobs=5), (Tool("f"),), format=Format())


@pytest.mark.parametrize("prompt", [GOOD.prompt, "a text", "", (1, 2, 3)])
def test_what_fits(prompt: object) -> None:
    assert unfit(replace(GOOD, prompt=prompt), EVERYTHING) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": ()}, "empty"),
        ({"prompt": (3, -1)}, "id 1 of the prompt is -1"),
        ({"prompt": "\ud800"}, "surrogate"),
        ({"prompt": (Message("assistant", "", calls=(ToolCall("c", "f", "\udfff"),)),)}, "message 0"),
        ({"sampling": Sampling(temperature=float("inf"))}, "temperature is inf"),
        ({"sampling": Sampling(most=0)}, "max_tokens is 0"),
        ({"sampling": Sampling(stop=("\ud800",))}, "stop"),
        ({"sampling": Sampling(logprobs=6)}, "top_logprobs is 6"),
    ],
)
def test_what_does_not(change: dict[str, object], said: str) -> None:
    error = unfit(replace(GOOD, **change), EVERYTHING)  # type: ignore[arg-type]
    assert isinstance(error, InputError)
    assert said in str(error)


def test_what_an_engine_cannot_do() -> None:
    plain = EngineTraits("x")
    asked = replace(GOOD, sampling=Sampling())
    assert "tools" in str(unfit(asked, plain))
    assert "response_format" in str(unfit(replace(asked, choose="none"), plain))
    assert "logprobs" in str(unfit(replace(GOOD, tools=(), format=None), plain))


def test_how_long_a_prompt_may_be() -> None:
    assert too_long(99, GOOD, EVERYTHING) is None
    assert too_long(10**9, GOOD, EngineTraits("x")) is None
    error = too_long(100, GOOD, EVERYTHING)
    assert isinstance(error, ContextTooLong)
    assert "shorten the prompt by 1" in str(error)
    assert too_long(95, replace(GOOD, sampling=Sampling(least=6)), EVERYTHING) is not None
