"""Whether an engine can take what it is asked, told before anything is done for it."""

from __future__ import annotations

import math

from fairlead.contracts.engine import EngineTraits
from fairlead.contracts.errors import ContextTooLong, InputError, InvalidParameter
from fairlead.contracts.generation import Generation, Message, Sampling

_MOST_TOKEN = 2**31
_NUMBERS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")


def unfit(asked: Generation, traits: EngineTraits) -> InputError | None:
    """What is wrong with it for an engine of these traits; None where nothing is. Pure, and cheap."""
    return _prompt(asked) or _features(asked, traits) or _sampling(asked.sampling)


def too_long(prompt: int, asked: Generation, traits: EngineTraits) -> ContextTooLong | None:
    """``prompt``: its tokens. None where they leave room for an answer, which is cut to that room."""
    least = max(asked.sampling.least, 1)
    over = prompt + least - traits.context
    if not traits.context or over <= 0:
        return None
    return ContextTooLong(
        f"the prompt has {prompt} tokens; the model takes {traits.context}, of which the answer needs {least}: "
        f"shorten the prompt by {over}"
    )


def _prompt(asked: Generation) -> InputError | None:
    prompt = asked.prompt
    if isinstance(prompt, str):
        return None if _encodes(prompt) else InputError("the prompt has a lone surrogate, which is no text of Unicode")
    if not prompt:
        return InputError("the prompt is empty; give a message, a text or ids of tokens")
    for place, one in enumerate(prompt):
        if isinstance(one, Message):
            if not (_encodes(one.content) and all(_encodes(call.arguments) for call in one.calls)):
                return InputError(f"message {place} has a lone surrogate, which is no text of Unicode")
        elif not isinstance(one, int) or not 0 <= one < _MOST_TOKEN:
            return InputError(f"id {place} of the prompt is {one}; an id of a token is 0 or more")
    return None


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _features(asked: Generation, traits: EngineTraits) -> InvalidParameter | None:
    engine = f"engine {traits.platform}"
    if asked.tools and asked.choose != "none" and not traits.tools:
        return InvalidParameter(f"tools: {engine} does not call tools; leave them out")
    if asked.format is not None and not traits.schemas:
        return InvalidParameter(f"response_format: {engine} does not hold an answer to a format; leave it out")
    logprobs = asked.sampling.logprobs
    if logprobs is not None and traits.logprobs < 0:
        return InvalidParameter(f"logprobs: {engine} does not say them; leave them out")
    if logprobs is not None and logprobs > traits.logprobs:
        return InvalidParameter(f"top_logprobs is {logprobs}; {engine} says {traits.logprobs} at most")
    return None


def _sampling(sampling: Sampling) -> InvalidParameter | None:
    for name in _NUMBERS:
        value = getattr(sampling, name)
        if not math.isfinite(value):
            return InvalidParameter(f"{name} is {value}; a finite number is wanted")
    if sampling.most is not None and sampling.most < 1:
        return InvalidParameter(f"max_tokens is {sampling.most}; an answer has one token at least")
    if not all(map(_encodes, sampling.stop)):
        return InvalidParameter("stop has a lone surrogate, which is no text of Unicode")
    return None
