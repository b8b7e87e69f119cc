"""Text from the embedded engine: the published story, answers that are held to a schema, calls that must be."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.engine import Event
from fairlead.contracts.generation import Begun, Ended, Format, Generation, Message, Piece, Sampling, Tool
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.serve.llm.texting.engine import Texting
from fairlead.wiring.llm.tokenizers import opened
from stories import Stories, stories

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"
)
MOOD = {
    "type": "object",
    "properties": {"mood": {"enum": ["happy", "sad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def published() -> Stories:
    return stories()


def talking(published: Stories, path: Path) -> str:
    """The same model with a template for conversations."""
    path.mkdir()
    for file in published.folder.iterdir():
        if file.name != "tokenizer_config.json":
            (path / file.name).symlink_to(file)
    config = json.loads((published.folder / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
    return str(path)


async def ask(engine: Texting, name: str, prompt: Any, sampling: Sampling, **more: Any) -> tuple[str, list[Event]]:
    told: list[Event] = []
    engine.generate(Generation(name, "stories", prompt, sampling, **more), told.append)
    for _ in range(6000):
        if told and not isinstance(told[-1], Begun | Piece):
            break
        await asyncio.sleep(0.01)
    return "".join(one.text for one in told if isinstance(one, Piece)), told


async def test_text_of_the_embedded_engine(published: Stories, tmp_path: Path) -> None:
    options = published.options(tmp_path / "engines", cache_gb=1)
    tokens = plugins.load("fairlead.token_engines", "embedded")(options)
    model = talking(published, tmp_path / "model")
    engine = Texting("stories", tokens, lambda: opened(model), SystemClock())
    await engine.start()
    text = json.loads((published.folder.parent / "greedy_reference.json").read_text())["text"]
    greedy = Sampling(temperature=0, most=200)
    alone, _ = await ask(engine, "alone", "", greedy)
    assert alone == text
    among = await asyncio.gather(
        *[ask(engine, str(one), "" if one == 7 else f"Once {one} upon", greedy) for one in range(16)]
    )
    assert among[7][0] == text
    assert engine.load().running == 0

    stopped, told = await ask(engine, "stop", "", Sampling(temperature=0, most=200, stop=("named Lily",)))
    assert stopped == text.partition("named Lily")[0]
    assert isinstance(told[-1], Ended)
    assert told[-1].reason == "stop"

    _, told = await ask(engine, "likely", "", Sampling(temperature=0, most=5, logprobs=0))
    assert len([chosen for one in told if isinstance(one, Piece) for chosen in one.logprobs]) == 5

    # The grammar lets space be between words, and a model that tells stories does not know when to stop with it.
    user = (Message("user", "How are you?"),)
    held, told = await ask(engine, "held", user, Sampling(most=100, seed=1), format=Format("mood", MOOD))
    assert re.fullmatch(r'\{\s*"mood"\s*:\s*"(happy|sad)"\s*\}?', held), told
    tools = (Tool("feel", "", MOOD), Tool("other"))
    said, told = await ask(engine, "call", user, Sampling(most=200, seed=1), tools=tools, choose="feel")
    calls = [call for one in told if isinstance(one, Piece) for call in one.calls]
    assert said == ""
    assert calls[0].name == "feel"
    arguments = "".join(one.arguments for one in calls)
    assert re.fullmatch(r'(\{\s*("mood"\s*(:\s*"(happy|sad)"\s*)?)?\}?)?', arguments), told
    await engine.stop()
