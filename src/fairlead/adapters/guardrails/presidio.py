"""Detector ``presidio``: Microsoft Presidio's analyzer, for what no pattern knows, such as names and places.

It loads a language model of spaCy: seconds to start, hundreds of megabytes, some ten milliseconds for a text.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider
from spacy.util import is_package

from fairlead.contracts.errors import UsageError
from fairlead.contracts.guardrail import Channel, DetectorOptions, Finding
from fairlead.kit.options import given

KINDS: Final[Mapping[str, str]] = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "US_SSN": "ssn",
    "IP_ADDRESS": "ip", "PERSON": "person", "LOCATION": "location", "DATE_TIME": "date", "NRP": "group", "URL": "url",
    "CRYPTO": "crypto", "MEDICAL_LICENSE": "medical_license", "US_DRIVER_LICENSE": "driver_license",
    "US_PASSPORT": "passport", "US_BANK_NUMBER": "bank_number", "US_ITIN": "itin", "ORGANIZATION": "organization",
}  # fmt: skip
"""Our name of its entities; another one has its own name in lower case."""


class Presidio:
    """Options: ``language``, ``model`` (of spaCy: a package, or a folder). Loaded when it is asked first."""

    name = "presidio"
    reach = 120
    cost = 0.02

    def __init__(self, options: DetectorOptions) -> None:
        found = given(options.options or {}, {"language": "en", "model": "en_core_web_sm"}, "detector presidio")
        self._language, self._model = str(found["language"]), str(found["model"])
        if not is_package(self._model) and not Path(self._model).is_dir():  # it would be downloaded, by the first call
            raise UsageError(
                f"detector presidio finds no spaCy model {self._model!r}: python -m spacy download {self._model}"
            )
        self._kinds = frozenset(options.kinds)
        self._least = 0.5 if options.threshold is None else options.threshold
        self._engine: Any = None
        self._lock = threading.Lock()

    def find(self, text: str, channel: Channel) -> Sequence[Finding]:  # noqa: ARG002 - the contract names it
        told = self._loaded().analyze(text=text, language=self._language, score_threshold=self._least)
        found = [
            Finding(KINDS.get(one.entity_type, one.entity_type.lower()), one.start, one.end, float(one.score))
            for one in sorted(told, key=lambda one: (one.start, -one.end))
        ]
        return _apart([one for one in found if not self._kinds or one.kind in self._kinds])

    def _loaded(self) -> Any:
        with self._lock:
            if self._engine is None:
                models = [{"lang_code": self._language, "model_name": self._model}]
                made = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models})
                nlp = made.create_engine()
                self._engine = AnalyzerEngine(nlp_engine=nlp, supported_languages=[self._language])
            return self._engine


def _apart(found: list[Finding]) -> list[Finding]:
    """Without those that overlap an earlier one of the same kind."""
    ends: dict[str, int] = {}
    kept = []
    for one in found:
        if one.start >= ends.get(one.kind, 0):
            ends[one.kind] = one.end
            kept.append(one)
    return kept
