"""How much of the prompts the caches of several replicas still have, by how requests are spread: a simulation.

usage: python -m bench.affinity TRACE.jsonl.gz [--replicas 4] [--blocks 3000] [--seconds 20]
TRACE: Mooncake's form, a line a request: ``timestamp`` (ms) and ``hash_ids`` of the prompt's blocks, each of all that
comes before. A replica has a cache of so many blocks (the least recently used go), and an answer takes so
many seconds. ``prefix`` is what an endpoint with ``route`` does; ``hash`` is consistent hashing of the first block
alone, ``least`` the least busy replica; ``one`` a single replica with all of the memory: nobody does better.
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import rig
from fairlead.serve.llm.route.choosing import Choosing
from fairlead.serve.llm.route.settings import Routing

WAYS = ("prefix", "hash", "least", "one")


class Cache:
    """Of one replica."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._kept: OrderedDict[int, None] = OrderedDict()

    def take(self, found: Sequence[int]) -> int:
        """How many of the blocks it had, from the first on; it has all of them now."""
        had = 0
        for one in found:
            if one not in self._kept:
                break
            had += 1
        for one in reversed(found):
            self._kept[one] = None
            self._kept.move_to_end(one)
        while len(self._kept) > self._blocks:
            self._kept.popitem(last=False)
        return had


def spread(
    trace: Sequence[dict[str, Any]], way: str, replicas: int, blocks: int, seconds: float
) -> tuple[float, float]:
    """Share of the blocks that a cache had, and the most requests of a replica over an even share."""
    count = 1 if way == "one" else replicas
    caches = [Cache(blocks * replicas // count) for _ in range(count)]
    names = [f"replica-{number}" for number in range(count)]
    choosing = Choosing(names, count, Routing(replicas=tuple(names), memory=1 if way == "hash" else 65_536))
    ends: list[tuple[float, int, Any]] = []
    had = total = 0
    asked = [0] * count
    for number, one in enumerate(trace):
        now, found = one["timestamp"] / 1000, one["hash_ids"]
        while ends and ends[0][0] <= now:
            ended, _, pick = heapq.heappop(ends)
            choosing.done(pick, False, seconds, ended)
        # A ring is walked from a hash: the ids of the trace are small numbers.
        mixed = [hash((one_, 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF for one_ in found]
        pick = choosing.pick([] if way == "least" else mixed, now, ())
        assert pick is not None
        heapq.heappush(ends, (now + seconds, number, pick))
        had += caches[pick.at].take(found)
        total += len(found)
        asked[pick.at] += 1
    return had / total, max(asked) * count / sum(asked)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.affinity")
    parser.add_argument("trace", type=Path)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with gzip.open(options.trace, "rt") as file:
        trace = [json.loads(line) for line in file]
    found = {way: spread(trace, way, options.replicas, options.blocks, options.seconds) for way in WAYS}
    print("| | share of the blocks that were cached | busiest replica over an even share |\n|---|---|---|")
    for way, (share, most) in found.items():
        print(f"| {way} | {share:.3f} | {most:.2f} |")
    rig.save("affinity", found)


if __name__ == "__main__":
    main()
