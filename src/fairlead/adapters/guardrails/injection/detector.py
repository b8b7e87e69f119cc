"""Detector ``injection``: attempts to make a model do what its operator does not want, in what users and tools say.

Two looks: at phrasings that are known, and by a classifier whose file comes with Fairlead or is the user's own
(``fairlead guard train``). The system's text and answers are never judged: an attack there would be somebody else's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime

from fairlead.adapters.guardrails.injection import phrases
from fairlead.adapters.guardrails.injection.grams import grams, plain, windows
from fairlead.contracts.errors import UsageError
from fairlead.contracts.guardrail import Channel, DetectorOptions, Finding
from fairlead.kit.config import nearest
from fairlead.kit.options import given

OURS: Final = Path(__file__).with_name("model.onnx")
LARGEST: Final = 64 * 2**20
"""Bytes of a file of a classifier."""
_JUDGED: Final = (Channel.USER, Channel.TOOL)


class Injection:
    """Judges whole texts. Pure; a text that is longer than a window is as bad as its worst window.

    Options: ``model``, the file of another classifier; ``phrases``, whether known phrasings count.
    """

    name = "injection"
    reach = 0
    cost = 0.001

    def __init__(self, options: DetectorOptions) -> None:
        found = given(options.options or {}, {"model": "", "phrases": True}, "detector injection")
        self._session = _session(Path(found["model"]) if found["model"] else OURS)
        self.about: Mapping[str, Any] = _about(self._session)
        self._labels: list[str] = self.about["labels"]
        self._phrases = bool(found["phrases"])
        known = [label for label in self._labels if label] + ["injection", "jailbreak"] * self._phrases
        for kind in options.kinds:
            if kind not in known:
                told = ", ".join(sorted(set(known)))
                raise UsageError(f"detector injection finds no {kind!r}{nearest(kind, known)}; it finds {told}")
        self._kinds = frozenset(options.kinds or known)
        self._least = 0.5 if options.threshold is None else options.threshold

    def find(self, text: str, channel: Channel) -> Sequence[Finding]:
        if channel not in _JUDGED or not text.strip():
            return ()
        scores = self.scores(text)
        if self._phrases:
            for kind, score in phrases.told(text).items():
                scores[kind] = max(score, scores.get(kind, 0.0))
        told = [
            Finding(kind, 0, len(text), round(score, 3))
            for kind, score in scores.items()
            if kind in self._kinds and score >= self._least
        ]
        return sorted(told, key=lambda one: (-one.score, one.kind))[:1]

    def scores(self, text: str) -> dict[str, float]:
        """What the classifier says: the share of all attacks where it is worst, by the likeliest kind there."""
        worst: dict[str, float] = {}
        for window in windows(plain(text)):
            ids, values = grams(window)
            shares = self._session.run(None, {"ids": ids, "values": values})[0]
            told = {label: float(share) for label, share in zip(self._labels, shares, strict=True) if label}
            total, likeliest = min(1.0, sum(told.values())), max(told, key=lambda label: told[label])
            if total > max(worst.values(), default=0.0):
                worst = {likeliest: total}
        return worst


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        with path.open("rb") as handle:
            data = handle.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST:
        raise UsageError(f"{path} has more than {LARGEST} bytes; it is no classifier of `fairlead guard train`")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own that have no base
        raise UsageError(f"{path} is no ONNX file of a classifier: {str(error)[:200]}") from None


def _about(session: Any) -> Mapping[str, Any]:
    told = session.get_modelmeta().custom_metadata_map.get("fairlead_guard", "")
    try:
        about: Mapping[str, Any] = json.loads(told)
        shapes = {one.name for one in session.get_inputs()}
        if shapes == {"ids", "values"} and about["labels"][0] == "":
            return about
    except (ValueError, KeyError, IndexError, TypeError):
        pass
    raise UsageError("the file is no classifier of `fairlead guard train`: it lacks the inputs, or says no labels")
