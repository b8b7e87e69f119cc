"""A graph of endpoints, as a spec and as Python say it: what is taken from where, step by step.

A *value* is named ``INPUT`` (an input of the graph), ``STEP.OUTPUT``, or ``STEP`` where the step has one output.
A step is exactly one of: a call of an endpoint, values combined, a Python function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.contracts.types import TensorSpec

Scalar = str | int | float | bool

MEAN, VOTE, STACK, FIRST = COMBINES = ("mean", "vote", "stack", "first")
"""``mean``: of floats, element by element.  ``vote``: the label that most say; of several the one that comes first.
``stack``: side by side, as columns.  ``first``: row by row the first value that is there (it joins branches)."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """What stands for a step that fails: constants by output, or the outputs of another step, or another endpoint that
    is given the same inputs.
    """

    value: Mapping[str, Scalar] = field(default_factory=dict)
    step: str = ""
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """``take``: input of the endpoint, or argument of the function, to value; what an endpoint takes besides, it takes
    from the graph's inputs of the same names.
    ``when``: conditions that all hold for the rows that come here, ``VALUE OP LITERAL`` or ``not STEP`` (the rows that
    do not go there); none: all rows do.
    ``timeout_ms``: of this step, within the call's deadline; 0 for no time of its own.
    ``combine``: one of COMBINES, over the values ``of``.  ``weights``: for each of them; none: all alike.
    ``function``: ``package.module:function`` or ``FILE.py:function``.  ``gives``: what the function gives.
    """

    name: str
    endpoint: str = ""
    take: Mapping[str, str] = field(default_factory=dict)
    when: tuple[str, ...] = ()
    timeout_ms: float = 0.0
    fallback: Fallback | None = None
    combine: str = ""
    of: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    function: str = ""
    gives: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """``inputs``: none where the steps that take them say what they are.  ``outputs``: name to value; none: those of
    the last step.
    """

    steps: tuple[Step, ...]
    inputs: tuple[TensorSpec, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Those that its steps call, fallbacks too, each once."""
        named = [(step.endpoint, step.fallback.endpoint if step.fallback else "") for step in self.steps]
        return tuple(dict.fromkeys(name for pair in named for name in pair if name))
