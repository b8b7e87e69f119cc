"""From what a caller asks to how openvino-genai is told. Only the child imports this."""

from __future__ import annotations

import random
from typing import Any, Final

import openvino_genai as genai

from fairlead.adapters.engines.openvino.messages import Ask
from fairlead.adapters.engines.openvino.pipeline import Pipeline, guess, said
from fairlead.contracts.errors import InvalidParameter

COLDEST: Final = 1e-4
"""A temperature below it takes the likeliest token each time, as 0 does; divided by it, logits would overflow."""


def config(asked: Ask, pipeline: Pipeline, bound: int) -> Any:
    """``bound``: the model's ids are below it. Raises InvalidParameter for what the engine does not take."""
    found = genai.GenerationConfig()
    found.max_new_tokens = asked.most
    _end(found, asked, pipeline, bound)
    _choose(found, asked)
    if asked.choosing.logprobs:
        found.logprobs = 1
    guess(found, pipeline.settings)
    if asked.grammar is not None:
        found.structured_output_config = _grammar(asked.grammar, pipeline)
    return found


def _end(found: Any, asked: Ask, pipeline: Pipeline, bound: int) -> None:
    own = pipeline.inner.get_config().eos_token_id
    ends = [one for one in asked.ends if 0 <= one < bound]  # it writes into the logits at each of them
    if ends:
        found.min_new_tokens = asked.least
        found.stop_token_ids = set(ends)
        found.set_eos_token_id(ends[0])
    elif asked.grammar is None:
        found.ignore_eos = True
        found.set_eos_token_id(max(own, 0))  # without any it refuses
    elif own < 0:
        raise InvalidParameter(
            "an answer with a grammar needs the id of a token that ends it, and the model names none"
        )


def _choose(found: Any, asked: Ask) -> None:
    choosing = asked.choosing
    found.presence_penalty = choosing.presence_penalty
    found.frequency_penalty = choosing.frequency_penalty
    found.repetition_penalty = choosing.repetition_penalty
    if choosing.temperature < COLDEST:
        return
    found.do_sample = True
    found.temperature = choosing.temperature
    found.top_p = choosing.top_p
    found.min_p = choosing.min_p
    if choosing.top_k > 0:
        found.top_k = choosing.top_k
    # Without a seed it would begin with 0 each time: two callers, one answer.
    found.rng_seed = random.getrandbits(63) if choosing.seed is None else choosing.seed


def _grammar(asked: dict[str, str], pipeline: Pipeline) -> Any:
    if pipeline.trial is None:
        raise InvalidParameter("this model has no tokenizer that is known here, so no answer can be held to a grammar")
    try:
        found = genai.StructuredOutputConfig(**asked)
        pipeline.trial.compile(found)
    except (RuntimeError, TypeError) as error:
        raise InvalidParameter(f"the grammar of the answer cannot be used: {said(error)}") from error
    return found
