"""The table of bad input, through the readers alone; over HTTP it is run in the integration tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import FairleadError
from fairlead.serve.llm.ask import last
from fairlead.serve.llm.chats import Chat
from fairlead.serve.openai import chat, completions, embeddings, refusals, responses
from fairlead.serve.openai.bodies import decode
from fairlead.serve.openai.kept import Shelf

sys.path.insert(0, str(Path(__file__).parent))

from bad_input import CASES, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Case, Five

ENGINE = Five(EngineOptions("echo", ""))
MODEL = Chat("m", ENGINE, last(ENGINE))
READERS = {CHAT: chat.read, COMPLETIONS: completions.read, RESPONSES: responses.reading(Shelf())}


def run(case: Case) -> None:
    if case.path == EMBEDDINGS:
        embeddings.inputs(decode(embeddings._BODY, case.body).input)
    else:
        READERS[case.path](case.body).plan(MODEL, "1", lambda: 0, None)


@pytest.mark.parametrize("case", [one for one in CASES if one.code != "model_not_found"], ids=lambda one: one.name)
def test_bad_input(case: Case) -> None:
    if case.name == "embeddings format unknown":
        pytest.skip("checked by the route")
    with pytest.raises(FairleadError) as caught:
        run(case)
    told = refusals.told(caught.value)
    assert told["type"] == "invalid_request_error"
    assert (told["code"], told["param"]) == (case.code, case.param), told["message"]
    assert case.words in (told["message"] or "")
    assert refusals.status(caught.value) == case.status
    assert len(told["message"] or "") < 500


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 100
    assert len({one.name for one in CASES}) == len(CASES)
