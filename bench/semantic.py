"""Answers by meaning: how many hits, how many of them false, and how long a look takes among 100,000 questions.

usage: python -m bench.semantic --data DIR [--model DIR] [--entries 100000] [--budget 0.01]
DIR holds ``text-near-duplicates`` (pairs: the second of a pair must hit the first and nothing else, though some rows
say nearly the same), ``text-banking77`` and ``text-clinc150`` (questions by what they ask for: a hit must be of one
kind; people labelled them, and not always alike), and the embedding model ``models-static-embedding`` where ``--model``
names no other. Kinds say too little: a trip to London and one to Paris are of one kind, and have other answers. So hits
that count as right though a word of theirs is replaced are told beside, and before them how often the labels of
questions of the same words differ. Every threshold is tried with and without the guards; the bound is Clopper and
Pearson's, one-sided, 95 %. Exit code 1 when no threshold has 300 hits with a bound within the budget on the pairs, or
when a look takes more than 2 ms at the 99th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import rig
from fairlead.contracts.embedder import EmbedderOptions
from fairlead.contracts.generation import Ended, Usage
from fairlead.kit import plugins
from fairlead.serve.llm.cache.meaning import Meaning
from fairlead.serve.llm.cache.sameness import differ, replaced, words
from fairlead.serve.llm.cache.shelf import Kept, Shelf
from fairlead.serve.llm.cache.trial import Trial, lower, upper
from fairlead.wiring.llm import tokenizers

THRESHOLDS = (0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98)
LEAST, BOUND, LOOK_MS = 300, 0.05, 2.0
ANY = 10**6
ARTICLES = frozenset("a an the my i you it is are was do does did to of for please".split())  # noqa: SIM905
Row = dict[str, Any]


def embedded(model: Path, texts: Sequence[str]) -> np.ndarray:
    async def work() -> np.ndarray:
        engine = plugins.load("fairlead.embedders", "static")(
            EmbedderOptions("bench", str(model), tokenizers.opened(str(model)))
        )
        await engine.start()
        found = await engine.embed([engine.read(text) for text in texts])
        await engine.stop()
        return found

    return asyncio.run(work())


def tried(
    kept: Sequence[tuple[str, Any]], asked: Sequence[tuple[str, Any]], model: Path, same: Callable[[Any, Any], bool]
) -> list[Row]:
    """What each threshold gives. ``kept``, ``asked``: texts, and what they are about."""
    vectors, questions = embedded(model, [text for text, _ in kept]), embedded(model, [text for text, _ in asked])
    rows = []
    for guarded, common, swaps in ((True, 0.6, 0), (True, 0.6, ANY), (True, 0.0, ANY), (False, 0.0, ANY)):
        for threshold in THRESHOLDS:
            shelf = Shelf(2**32, 1e9)
            meaning = Meaning(shelf, plugins.load("fairlead.vectors", "graph"), Trial(threshold, 0.01), common, swaps)
            about = {}
            for number, ((text, what), vector) in enumerate(zip(kept, vectors, strict=True)):
                key = number.to_bytes(8, "big")
                shelf.put(key, Kept((), Ended("stop", Usage()), 0.0, text if guarded else ""))
                meaning.put(b"", key, vector)
                about[key] = what
            hits = false = swapped = 0
            for (text, what), vector in zip(asked, questions, strict=True):
                match = meaning.find(b"", vector, text if guarded else "", 0.0)
                if match.kept is not None:
                    hits += 1
                    right = same(about[match.key], what)
                    false += not right
                    swapped += right and bool(replaced(text, kept[int.from_bytes(match.key)][0]))
            bound = upper(false, hits, BOUND) if hits else 1.0
            rows.append(
                {
                    "guards": guarded, "words": common, "replaced": swaps, "threshold": threshold, "asked": len(asked),
                    "hits": hits, "false": false, "swapped": swapped, "bound": bound,
                    "recall": (hits - false) / len(asked),
                }
            )  # fmt: skip
    return rows


def pairs(data: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What is about the same: rows that are equal but for capitals and punctuation; 29 of the 621 repeat another."""
    lines = [json.loads(line) for line in (data / "text-near-duplicates" / "paraphrase_pairs.jsonl").open()]
    about = [" ".join(re.findall(r"\w+", one["origin"].casefold())) for one in lines]
    return (
        [(one["origin"], what) for one, what in zip(lines, about, strict=True)],
        [(one["similar"], what) for one, what in zip(lines, about, strict=True)],
    )


Kinds = list[tuple[str, str]]


def bank(data: Path) -> Kinds:
    with (data / "text-banking77" / "train.csv").open() as file:
        return [(one["text"], one["category"]) for one in csv.DictReader(file)]


def assistant(data: Path) -> Kinds:
    with gzip.open(data / "text-clinc150" / "clinc150-train-val.jsonl.gz", "rt") as file:
        return [(one["text"], one["intent"]) for one in map(json.loads, file)]


def noise(lines: Kinds) -> tuple[int, int]:
    """Pairs that have the same words in the same order but for articles and their like, and those of two kinds."""
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for text, kind in lines:
        alike[tuple(word for word in words(text) if word not in ARTICLES)].append(kind)
    pairs = [(one, other) for kinds in alike.values() for place, one in enumerate(kinds) for other in kinds[:place]]
    return len(pairs), sum(one != other for one, other in pairs)


def halves(lines: Kinds, most: int = 4000) -> tuple[Kinds, Kinds]:
    """Half of them kept, the other half asked, in a fixed order."""
    order = np.random.default_rng(0).permutation(len(lines))[:most]
    chosen = [lines[place] for place in order]
    return chosen[: most // 2], chosen[most // 2 :]


def looks(entries: int, dimensions: int = 64) -> dict[str, float]:
    """Milliseconds of a look among so many random questions."""
    dice = np.random.default_rng(1)
    index = plugins.load("fairlead.vectors", "graph")(dimensions)
    vectors = dice.normal(size=(entries, dimensions)).astype(np.float32)
    began = time.perf_counter()
    for number, vector in enumerate(vectors):
        index.add(number, vector)
    added = (time.perf_counter() - began) / entries
    times = []
    found = 0
    for number in dice.integers(0, entries, 2000):
        asked = vectors[number] + dice.normal(scale=0.05, size=dimensions).astype(np.float32)
        began = time.perf_counter()
        near = index.nearest(asked, 5)
        times.append((time.perf_counter() - began) * 1000)
        found += bool(near) and near[0].key == number
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "found": found / 2000, "add_us": added * 1e6}


def table(name: str, rows: list[Row]) -> None:
    print(f"\n| {name} | guards | words | replaced | asked | hits "
          "| false | right, a word replaced | at most (95 %) | right of all asked |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for one in rows:
        print(
            f"| {one['threshold']:.2f} | {'yes' if one['guards'] else 'no'} | {one['words']:.1f} "
            f"| {'any' if one['replaced'] == ANY else one['replaced']} | {one['asked']:,} | {one['hits']:,} | "
            f"{one['false']:,} | {one['swapped']:,} | {one['bound']:.2%} | {one['recall']:.1%} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.semantic")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--budget", type=float, default=0.01)
    options = parser.parse_args()
    model = options.model or options.data / "models-static-embedding"
    kept, asked = pairs(options.data)
    near = tried(kept, asked, model, lambda one, other: one == other)
    table("near duplicates, threshold", near)
    kinds = {}
    for name, lines in (("banking77", bank(options.data)), ("clinc150", assistant(options.data))):
        alike, apart = noise(lines)
        print(f"\n{name}: of {alike} pairs with the same words, {apart} are of two kinds: at least "
              f"{lower(apart, alike, BOUND):.1%} of such hits count as false whoever judges")  # fmt: skip
        kinds[name] = tried(*halves(lines), model, lambda one, other: one == other)
        table(f"{name}, threshold", kinds[name])
    why: dict[str, int] = {}
    for (one, _), (other, _) in zip(kept, asked, strict=True):
        why[differ(one, other)] = why.get(differ(one, other), 0) + 1
    print(f"\npairs that the guards rule out, by reason: { {key or 'none': count for key, count in why.items()} }")
    look = looks(options.entries)
    print(f"a look among {options.entries:,}: p50 {look['p50_ms']:.2f} ms, p99 {look['p99_ms']:.2f} ms, "
          f"{look['found']:.1%} found, {look['add_us']:.0f} us to add")  # fmt: skip
    rig.save("semantic", {"pairs": near, **kinds, "look": look, "ruled_out": why})
    good = [one for one in near if one["guards"] and one["hits"] >= LEAST and one["bound"] <= options.budget]
    if good:
        best = max(good, key=lambda one: one["recall"])
        print(f"best within the budget: {best['threshold']}, {best['hits']} hits, at most {best['bound']:.2%} false")
    else:
        print(f"no threshold has {LEAST} hits and at most {options.budget:.1%} of them false, with 95 % confidence")
    return int(not good or look["p99_ms"] > LOOK_MS)


if __name__ == "__main__":
    sys.exit(main())
