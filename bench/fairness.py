"""What sharing an engine costs and brings: one tenant floods it with long requests, another sends a short one a second.

usage: python -m bench.fairness [--seconds 30] [--parallel 16] [--delay 0.02] [--flood 50] [--cost]
An echo engine with a fixed rate of tokens, in this process, by real time: the light tenant alone; beside the flood with
the engine's own queue (first come, first served); and with the stage. Exit code 1 when the p95 of the light tenant's
time to the first token is over 1.5 times of alone, or all tokens a second under 0.9 of the unfair queue's.
``--cost``: what the stage adds to a request and to a token, in process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench import rig
from fairlead.contracts.engine import EngineOptions, Event, Running
from fairlead.contracts.generation import Ended, Generation, Piece, Usage
from fairlead.kit.clock import SystemClock
from fairlead.serve.llm.ask import OVER, Ask, Enter, last
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.stage import Fair
from fairlead.testing.engines import EchoEngine

LONG, SHORT = 200, 20
"""Tokens of an answer."""
FIRST_TOKEN, TOKENS = 1.5, 0.9


@dataclass
class Seen:
    """``first``: seconds to the light tenant's first tokens.  ``tokens``: of both, in ``seconds``."""

    first: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.first, n=20)[-1]

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


class Asking:
    """Both tenants, at one line."""

    def __init__(self, line: Enter, clock: SystemClock) -> None:
        self._line, self._clock = line, clock
        self._count = 0
        self.seen = Seen()
        self.open = True

    def one(self, tenant: str, words: int, then: Callable[[], None]) -> Running:
        self._count += 1
        began = self._clock.now()
        waits = tenant == "light"
        generation = Generation(str(self._count), "chat", "w " * (words - 1) + "w", tenant=tenant)

        def tell(event: Event) -> None:
            nonlocal waits
            if isinstance(event, Piece):
                self.seen.tokens += 1
                if waits:
                    waits = False
                    self.seen.first.append(self._clock.now() - began)
            elif isinstance(event, Ended) and self.open:
                then()

        return self._line(Ask(generation, began, str(self._count)), tell)

    def flood(self) -> None:
        self.one("flood", LONG, self.flood)

    async def run(self, seconds: float, flood: int) -> Seen:
        """The flood keeps so many requests in hand all the time."""
        for _ in range(flood):
            self.flood()
        await asyncio.sleep(2.0)
        self.seen, began = Seen(), self._clock.now()
        for second in range(round(seconds)):
            await asyncio.sleep(max(0.0, began + second - self._clock.now()))
            self.one("light", SHORT, lambda: None)
        await asyncio.sleep(max(0.0, began + seconds - self._clock.now()))
        self.open = False
        self.seen.seconds = self._clock.now() - began
        return self.seen


async def measured(options: argparse.Namespace, *, fair: bool, flood: int) -> Seen:
    engine = EchoEngine(EngineOptions("echo", "", options={"delay": options.delay, "parallel": options.parallel}))
    await engine.start()
    clock = SystemClock()
    stage = Fair("chat", Sharing(), lambda: options.parallel, clock)
    asking = Asking(stage.stage(last(engine)) if fair else last(engine), clock)
    if fair:
        asking.one("light", 1, lambda: None)  # there was another tenant lately
    seen = await asking.run(options.seconds, flood)
    await engine.stop()
    return seen


def cost() -> dict[str, float]:
    """Microseconds that the stage adds to a request, and to a token of it."""
    ended = Ended("stop", Usage(1, 0, 1))
    piece = Piece("w")
    clock = SystemClock()

    def engine(tokens: int) -> Enter:
        def enter(_ask: Ask, tell: Callable[[Event], None]) -> Running:
            for _ in range(tokens):
                tell(piece)
            tell(ended)
            return OVER

        return enter

    def taken(line: Enter, count: int) -> float:
        asked = Ask(Generation("1", "chat", "w", tenant="t"), clock.now(), "1", prompt=1)
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for _ in range(count):
                line(asked, lambda _event: None)
            best = min(best, (time.process_time() - began) / count)
        return best * 1e6

    stage = Fair("chat", Sharing(), lambda: 16, clock)
    added = [taken(stage.stage(engine(tokens)), 2000) - taken(engine(tokens), 2000) for tokens in (0, 100)]
    return {"request_us": round(added[0], 2), "token_us": round((added[1] - added[0]) / 100, 3)}


async def compared(options: argparse.Namespace) -> bool:
    alone = await measured(options, fair=True, flood=0)
    unfair = await measured(options, fair=False, flood=options.flood)
    fair = await measured(options, fair=True, flood=options.flood)
    first, tokens = fair.p95 / alone.p95, fair.rate / unfair.rate
    print("| | p95 to first token of the light tenant, ms | median, ms | tokens/s of both |\n|---|---|---|---|")
    for name, seen in (("alone", alone), ("first come, first served", unfair), ("fair", fair)):
        middle = statistics.median(seen.first)
        print(f"| {name} | {seen.p95 * 1000:.1f} | {middle * 1000:.1f} | {seen.rate:.0f} |")
    print(f"\np95 {first:.2f} of alone (bar {FIRST_TOKEN}), tokens/s {tokens:.3f} of unfair (bar {TOKENS})", flush=True)
    rig.save("fairness", {"first_token_over_alone": first, "tokens_over_unfair": tokens, "unfair_p95": unfair.p95})
    return first <= FIRST_TOKEN and tokens >= TOKENS


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.fairness")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--delay", type=float, default=0.02)
    parser.add_argument("--flood", type=int, default=50)
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    if options.cost:
        print(cost())
        return
    sys.exit(0 if asyncio.run(compared(options)) else 1)


if __name__ == "__main__":
    main()
