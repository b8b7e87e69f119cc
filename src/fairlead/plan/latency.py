"""What a load on a language model came to, in the words of vLLM's own benchmark.

TTFT: seconds to the first token.  TPOT: seconds for each token after the first, of one answer.  ITL: seconds between
two pieces of a stream.  E2EL: seconds to the end.  Goodput: answers a second that keep every objective.

Source: vLLM, ``vllm bench serve``; goodput: Zhong et al., DistServe (OSDI 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

PERCENTILES: Final = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. Times in seconds from one clock; ``first`` 0.0: no token came.

    ``due``: when it should have been sent.  ``prompt``, ``output``: tokens, as the server counts them.
    ``gaps``: between pieces.  ``error``: what went wrong; empty for a whole answer.  ``said``: the server, of that.
    """

    due: float
    sent: float
    first: float
    ended: float
    prompt: int
    output: int
    gaps: tuple[float, ...] = ()
    error: str = ""
    said: str = ""

    @property
    def ttft(self) -> float:
        return self.first - self.sent

    @property
    def tpot(self) -> float:
        return (self.ended - self.first) / (self.output - 1) if self.output > 1 else 0.0

    @property
    def e2el(self) -> float:
        return self.ended - self.sent


_OF: Final[Mapping[str, Callable[[Sent], float]]] = {
    "ttft": lambda one: one.ttft,
    "tpot": lambda one: one.tpot,
    "e2el": lambda one: one.e2el,
}
OBJECTIVES: Final = tuple(_OF)
"""What an objective may be about."""


def good(one: Sent, objectives: Mapping[str, float]) -> bool:
    """Whether an answer is whole and keeps every objective (seconds, by name)."""
    return not one.error and all(_OF[name](one) <= most for name, most in objectives.items())


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and percentiles; empty for no values."""
    if not values:
        return {}
    found = {"mean": float(np.mean(values))}
    return found | {f"p{at}": float(np.percentile(values, at)) for at in PERCENTILES}


def report(sent: Sequence[Sent], objectives: Mapping[str, float]) -> dict[str, Any]:
    """Counts, rates a second, and seconds. Rates are over the time from the first request to the last end.

    ``said``: what the server said of the first of each error.
    """
    whole = [one for one in sent if not one.error]
    errors: dict[str, int] = {}
    said: dict[str, str] = {}
    for one in sent:
        if one.error:
            errors[one.error] = errors.get(one.error, 0) + 1
            said.setdefault(one.error, one.said)
    seconds = max((one.ended for one in sent), default=0.0) - min((one.sent for one in sent), default=0.0)
    rate = 1 / seconds if seconds > 0 else 0.0
    output, prompt = sum(one.output for one in whole), sum(one.prompt for one in whole)
    kept = sum(good(one, objectives) for one in sent)
    return {
        "requests": len(sent),
        "completed": len(whole),
        "errors": errors,
        "said": said,
        "seconds": seconds,
        "prompt_tokens": prompt,
        "output_tokens": output,
        "requests_per_second": len(whole) * rate,
        "output_tokens_per_second": output * rate,
        "total_tokens_per_second": (output + prompt) * rate,
        "objectives": dict(objectives),
        "goodput": kept * rate,
        "goodput_share": kept / len(sent) if sent else 0.0,
        "late_to_send": spread([one.sent - one.due for one in sent]),
        "ttft": spread([one.ttft for one in whole]),
        "tpot": spread([one.tpot for one in whole if one.output > 1]),
        "itl": spread([gap for one in whole for gap in one.gaps]),
        "e2el": spread([one.e2el for one in whole]),
    }
