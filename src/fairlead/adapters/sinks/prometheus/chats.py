"""What is measured of language models, under our names and under those that dashboards for vLLM know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from fairlead.adapters.sinks.prometheus.columns import Columns, Histogram
from fairlead.contracts.answered import Answered
from fairlead.contracts.figures import ANSWER_SECONDS
from fairlead.contracts.generation import Usage

_STEPS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)
"""Bounds of the GenAI conventions of OpenTelemetry, as far as there are models."""
_CLASSES: Final = ("input", "cached", "output", "reasoning")


class _Shown(NamedTuple):
    """A histogram. ``alias``: at vLLM; empty for none."""

    name: str
    alias: str
    text: str
    bounds: Sequence[float]


_HISTOGRAMS: Final = (
    _Shown("first_token_seconds", "time_to_first_token_seconds", "From arrival to the first piece.", ANSWER_SECONDS),
    _Shown("token_seconds", "request_time_per_output_token_seconds", "A token after the first, on average.", _STEPS),
    _Shown("gap_seconds", "", "Between two pieces of one answer, at most.", _STEPS),
    _Shown("answer_seconds", "e2e_request_latency_seconds", "From arrival to the end of the answer.", ANSWER_SECONDS),
    _Shown("prompt_tokens", "request_prompt_tokens", "Tokens of a prompt.", _TOKENS),
    _Shown("answer_tokens", "request_generation_tokens", "Tokens of an answer.", _TOKENS),
)


class Chats:
    """Shows the meters to prometheus_client."""

    def __init__(self) -> None:
        self._meters: dict[str, _Chat] = {}

    def chat(self, endpoint: str) -> _Chat:
        """``endpoint``, as the contract says."""
        return self._meters.setdefault(endpoint, _Chat())

    def collect(self) -> Iterator[Metric]:
        if not self._meters:
            return
        for meter in self._meters.values():
            meter.drain()
        yield from self._counted()
        for prefix, label, aliased in (("fairlead_llm_", "endpoint", False), ("vllm:", "model_name", True)):
            for shown in _HISTOGRAMS:
                name = shown.alias if aliased else shown.name
                if not name:
                    continue
                family = HistogramMetricFamily(prefix + name, shown.text, labels=(label,))
                for endpoint, meter in self._meters.items():
                    one = meter.histograms[shown.name]
                    bounds = [*(repr(float(bound)) for bound in one.bounds), "+Inf"]
                    family.add_metric((endpoint,), list(zip(bounds, one.cumulative(), strict=True)), sum_value=one.sum)
                yield family

    def _counted(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "fairlead_llm_answers",
            "Answers by how they ended; a reason, or an error code.",
            labels=("endpoint", "outcome"),
        )
        ended = CounterMetricFamily(
            "vllm:request_success", "Answers that are whole.", labels=("model_name", "finished_reason")
        )
        tokens = CounterMetricFamily("fairlead_llm_tokens", "Tokens by class.", labels=("endpoint", "class"))
        prompts = CounterMetricFamily("vllm:prompt_tokens", "Tokens of prompts.", labels=("model_name",))
        made = CounterMetricFamily("vllm:generation_tokens", "Tokens of answers.", labels=("model_name",))
        running = GaugeMetricFamily("fairlead_llm_answers_running", "Answers under way.", labels=("endpoint",))
        beside = GaugeMetricFamily(
            "vllm:num_requests_running", "Answers that the engine makes.", labels=("model_name",)
        )
        waiting = GaugeMetricFamily("vllm:num_requests_waiting", "Answers that it will make.", labels=("model_name",))
        for endpoint, meter in self._meters.items():
            for (outcome, failed), count in meter.outcomes.items():
                answers.add_metric((endpoint, outcome), count)
                if not failed:
                    ended.add_metric((endpoint, outcome), count)
            for kind, count in zip(_CLASSES, meter.tokens, strict=True):
                tokens.add_metric((endpoint, kind), count)
            prompts.add_metric((endpoint,), meter.tokens[0] + meter.tokens[1])
            made.add_metric((endpoint,), meter.tokens[2] + meter.tokens[3])
            running.add_metric((endpoint,), meter.running)
            beside.add_metric((endpoint,), meter.engine[1])
            waiting.add_metric((endpoint,), meter.engine[0])
        looks = CounterMetricFamily(
            "fairlead_llm_cache", "Looks into the cache by what they found.", labels=("endpoint", "outcome")
        )
        for endpoint, meter in self._meters.items():
            for outcome, count in meter.looks.items():
                looks.add_metric((endpoint, outcome), count)
        if looks.samples:
            yield looks
        yield from (answers, tokens, running, ended, prompts, made, beside, waiting)


class _Chat:
    """One language model."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, bool], int] = {}
        self.tokens = [0, 0, 0, 0]
        self.running = 0
        self.looks: dict[str, int] = {}
        self.engine = (0, 0, 0.0)
        self.histograms = {shown.name: Histogram(shown.bounds) for shown in _HISTOGRAMS}
        self._columns = Columns(len(_HISTOGRAMS), self._fold)
        self.drain = self._columns.drain

    def began(self) -> None:
        self.running += 1

    def answered(self, one: Answered) -> None:
        self.running -= 1
        key = (one.outcome, one.failed)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
        usage = one.usage or Usage()
        for place, count in enumerate(usage):
            self.tokens[place] += count
        first = one.first - one.arrived if one.first else -1.0
        gap = one.longest or -1.0
        self._columns.put(
            first, one.per_token or -1.0, gap, one.seconds, usage.prompt or -1.0, usage.completion or -1.0
        )

    def cached(self, outcome: str) -> None:
        self.looks[outcome] = self.looks.get(outcome, 0) + 1

    def waiting(self, waiting: int, running: int, memory: float) -> None:
        self.engine = (waiting, running, memory)

    def _fold(self, rows: np.ndarray[Any, Any]) -> None:
        for place, shown in enumerate(_HISTOGRAMS):
            column = rows[:, place]
            self.histograms[shown.name].add(column[column >= 0])  # what is not known of an answer is not counted
