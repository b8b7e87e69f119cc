"""From a plan to what the line is asked: one ask for each answer, the first of them first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fairlead.contracts.access import Caller
from fairlead.contracts.generation import Generation
from fairlead.serve.call import STANDARD
from fairlead.serve.llm.ask import Ask
from fairlead.serve.openai.answers import Plan
from fairlead.serve.pipeline import lane_of, timeout_ms

Headers = Mapping[bytes, bytes]


def time(headers: Headers, most: float) -> float:
    """Seconds for the answer: what the caller names, within what the endpoint gives. Raises InvalidParameter."""
    given = headers.get(b"x-request-timeout-ms")
    return most if given is None else min(most, timeout_ms(given.decode("latin-1")) / 1000)


def lane(headers: Headers) -> int:
    """Raises InvalidParameter."""
    urgent = headers.get(b"x-request-priority")
    return STANDARD if urgent is None else lane_of(urgent.decode("latin-1"))


def facts(route: str, several: bool, more: Mapping[str, object], headers: Headers) -> dict[str, object]:
    """What stages and traces are told of a request. ``several``: it asks for more than one answer."""
    found: dict[str, object] = {"api": route, **more}
    if several:
        found["several"] = True
    if (parent := headers.get(b"traceparent")) is not None:
        found["traceparent"] = parent.decode("latin-1")
    return found


def generation(plan: Plan, model: str, identity: str, deadline: float, caller: Caller | None, lane_: int) -> Generation:
    """The first answer."""
    many = len(plan.prompts) * plan.n > 1
    return Generation(
        f"{identity}-0" if many else identity,
        model,
        plan.prompts[0],
        plan.sampling,
        plan.tools,
        plan.choose,
        plan.parallel,
        plan.format,
        deadline,
        "" if caller is None else caller.tenant or caller.name,
        lane_,
    )


def each(plan: Plan, first: Ask) -> Iterator[Ask]:
    """All of them. A seed is another one for each choice, else all would be the same."""
    yield first
    seed, stem = plan.sampling.seed, first.generation.id.removesuffix("-0")
    for at in range(1, len(plan.prompts) * plan.n):
        sampling, further = plan.sampling, at % plan.n
        if seed is not None:
            sampling = replace(sampling, seed=seed + further if seed + further < 2**63 else seed - further)
        one = replace(first.generation, id=f"{stem}-{at}", prompt=plan.prompts[at // plan.n], sampling=sampling)
        yield replace(first, generation=one, first=False)


def lines(headers: Mapping[str, str]) -> bytes:
    """Headers as lines of HTTP; one whose value would become two is left out."""
    kept = {name: value for name, value in headers.items() if "\n" not in value and "\r" not in value}
    return "".join(f"{name}: {value}\r\n" for name, value in kept.items()).encode("latin-1", "replace")
