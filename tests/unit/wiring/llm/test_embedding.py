"""What is refused before anybody has to pay for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fairlead.contracts.errors import InvalidParameter
from fairlead.serve.openai.embeddings import Embedding
from fairlead.wiring.llm.embedding import _Asked


@pytest.mark.parametrize("dimensions", [0, 65])
async def test_dimensions_that_the_model_does_not_have_cost_nothing(dimensions: int) -> None:
    live = SimpleNamespace(deadline=1.0, embedder=SimpleNamespace(size=64))
    asked = _Asked(live, SimpleNamespace(embed=pytest.fail))
    with pytest.raises(InvalidParameter, match="the model has 64"):
        await asked.embed(Embedding("e", ("text",), dimensions))
