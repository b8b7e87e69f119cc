from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from fairlead.contracts.plans import Happening
from fairlead.monitor.alerts import Alert
from fairlead.monitor.calibration import Calibration
from fairlead.monitor.cbpe import Estimate
from fairlead.monitor.charts import Point, histogram, line, spark
from fairlead.monitor.decay import start, step
from fairlead.monitor.metrics import Measure
from fairlead.monitor.page import as_html
from fairlead.monitor.performance import Period
from fairlead.monitor.report import ColumnView, Labels, Report, RolloutView, Served, Traffic, as_text

DAY = 86_400_000
START = 1_767_225_600_000
EVIL = '<script>alert("x")</script>&'


def measured(value: float | None) -> Measure:
    if value is None:
        return Measure("roc_auc", None, None, None, 0, why="no labelled rows")
    return Measure("roc_auc", value, value - 0.02, value + 0.02, 100)


def period(number: int, now: float | None, then: float | None) -> Period:
    begin = START + number * DAY
    return Period(begin, begin + DAY, 1000, 0 if then is None else 400, 0 if now is None else 990, 0,
                  (measured(then),), (measured(now),))  # fmt: skip


def full() -> Report:
    _, decayed = step(start("roc_auc", np.zeros(500)), np.ones(300), START + np.arange(300) * 1_000_000)
    assert decayed is not None
    return Report(
        EVIL,
        "3",
        START,
        START + 5 * DAY,
        START + 5 * DAY,
        Traffic(5000, 5010, 3, 0.0021, 0.009, 0.0124, {"model_failed": 3}),
        (
            ColumnView("age", "number", "ok", 0.01, 0.5, (0.0, 0.02), 0.1, (0.5, 0.5), (0.4, 0.6), ("< 30", ">= 30")),
            ColumnView(EVIL, "category", "alarm", 0.4, 1e-6, (0.0, 0.02), 0.7, (1.0, 0.0), (0.5, 0.5), (EVIL, "new")),
            ColumnView("gone", "number", "no data", why="all rows are missing"),
        ),
        "roc_auc",
        0.9,
        (period(0, 0.9, 0.89), period(1, None, None), period(2, 0.7, None)),
        (decayed,),
        (Estimate(measured(0.9), Calibration(0.01, 0.5, 900, 0.02, True, "fine"), measured(0.7)),),
        (Alert(EVIL, "e", "firing", "critical", {}, {"summary": EVIL}, START),),
        (Happening("e", "drift", EVIL, START, {"why": EVIL, "nested": {"rows": [1, 2]}}),),
        EVIL,
    )


class Tags(HTMLParser):
    VOID = ("meta", "link", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_text_has_tables_that_put_what_matters_first() -> None:
    text = as_text(full(), evidence=True)
    head = text.splitlines()
    assert head[0].endswith("version 3, 2026-01-01 00:00 to 2026-01-06 00:00 UTC")
    assert head[1].startswith("ALARM: Performance has fallen (roc_auc), 1 column drifted")
    assert head[1].endswith("and 1 alert firing.")
    assert "errors 0.06 %  p50 2.10 ms  p95 9.00 ms  p99 12 ms" in head[3]
    assert head[4] == "errors by code: model_failed 3"
    titles = ("Drift", "Performance\n", "Decay", "Expected before labels", "Alerts", "Timeline")
    assert [text.index(one) for one in titles] == sorted(text.index(one) for one in titles)
    rows = [one.split() for one in head if one.startswith("  ") and "  number  " in one]
    assert rows[0][:4] == ["no", "data", "gone", "number"]
    assert rows[1][:4] == ["ok", "age", "number", "0.010"]
    assert re.search(r"2026-01-03 00:00 +1,000 +99\.0 % +0\.7000 \[0\.680, 0\.720\] +-", text)
    assert re.search(r"2026-01-02 00:00 +1,000 +0 % +- +-", text)
    assert "0.9000 [0.880, 0.920]  0.7000 [0.680, 0.720]  differs  trusted" in text


@pytest.mark.parametrize(
    ("report", "state", "said"),
    [
        (Report("e", "1", 0, 1, 1), "no data", "No calls"),
        (Report("e", "1", 0, 1, 1, Traffic(5, 5)), "no data", "No reference and no labels"),
        (
            Report("e", "1", 0, 1, 1, Traffic(5, 5), (ColumnView("a", "number", "ok"),)),
            "ok",
            "performance is not known",
        ),
        (
            Report("e", "1", 0, 1, 1, Traffic(5, 5), (ColumnView("a", "number", "warn"),)),
            "warn",
            "1 column to look at: a",
        ),
    ],
)
def test_what_is_not_known_is_not_called_fine(report: Report, state: str, said: str) -> None:
    assert report.verdict()[0] == state
    assert said in report.verdict()[1]
    assert said in as_text(report)
    page = as_html(report)
    assert said in page
    assert "errors -" in as_text(report) or report.traffic.calls


def test_the_page_stands_alone_and_nothing_foreign_gets_in() -> None:
    page = as_html(full())
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not {"script", "link", "img", "iframe", "object"} & set(tags.seen)
    assert "http" not in page.replace("http-equiv", "")
    assert EVIL not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;" in page
    assert "".join(tags.text).count(EVIL) >= 6
    assert "prefers-color-scheme: dark" in page
    assert page.count("<svg") == 5  # one line, two small and two large histograms
    assert "Most likely since" in page


def test_a_page_of_many_columns_says_what_it_leaves_out() -> None:
    many = tuple(ColumnView(f"c{place}", "number", "ok", psi=0.0) for place in range(60))
    assert "20 more columns" in as_html(replace(full(), columns=many))


def svg(text: str) -> ET.Element:
    return ET.fromstring(text)


def test_histograms_are_drawn_to_scale() -> None:
    drawn = svg(histogram([0.5, 0.25, 0.25], [0.25, 0.25, 0.5], ["a", "b & c"], name="x", axis=True))
    heights: dict[str | None, list[float]] = {}
    for one in drawn.iter("rect"):
        heights.setdefault(one.get("class"), []).append(float(one.get("height", 0)))
    assert heights["before"][0] == pytest.approx(2 * heights["before"][1], abs=0.11)
    assert heights["now"][2] == pytest.approx(heights["before"][0], abs=0.11)
    assert [one.text for one in drawn.iter("title")][1] == "b & c: reference 25.0 %, now 25.0 %"
    assert histogram([], [], []) == ""
    assert histogram([1.0], [0.5, 0.5], ["a"]) == ""


def test_a_line_has_a_gap_where_there_is_no_value() -> None:
    values = [0.5, 0.6, None, 0.7, 0.8, 0.9]
    points = [
        Point(START + n * DAY, one) if one is None else Point(START + n * DAY, one, one - 0.1, one + 0.1)
        for n, one in enumerate(values)
    ]
    marks = [(START + DAY, "a < b"), (START + 90 * DAY, "outside")]
    drawn = svg(line(points, [Point(START, 0.4)], marks=marks, level=0.65, name="auc"))
    assert len([one for one in drawn.iter("polyline") if one.get("class") == "line"]) == 2
    assert len(list(drawn.iter("polygon"))) == 2
    assert len(list(drawn.iter("circle"))) == 5
    assert [one.text for one in drawn.iter("text") if one.get("class") == "marked"] == ["a < b"]
    texts = [one.text or "" for one in drawn.iter("text") if one.get("text-anchor") == "end"]
    ticks = [float(one) for one in texts if "." in one]
    assert ticks[0] <= 0.4
    assert ticks[-1] >= 1.0
    assert line([Point(START, None)], level=0.5) == ""


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-9, 123456.0, -3.0])
def test_one_point_alone_can_be_drawn(value: float) -> None:
    drawn = svg(line([Point(START, value)], name="m"))
    place = next(drawn.iter("circle"))
    assert 0 <= float(place.get("cy", -1)) <= 240
    assert 0 <= float(place.get("cx", -1)) <= 860


def test_predictions_without_labels_are_not_measured() -> None:
    page = as_html(replace(full(), periods=(period(0, None, None),), decays=()))
    assert "No labels have arrived" in page
    assert "0 of 1,000 rows" in page
    assert "roc_auc</dt>" not in page


def test_a_spark_has_gaps_and_a_limit() -> None:
    drawn = svg(spark([0.0, 0.1, None, 0.4, 0.8], 0.1, name="x"))
    lines = [one.get("points") or "" for one in drawn.iter("polyline")]
    assert [len(one.split()) for one in lines] == [2, 2]
    assert float(next(drawn.iter("circle")).get("cy", 99)) < 5
    assert spark([0.5], 0.1) == spark([None, None], 0.1) == ""


def test_times_under_a_chart_are_round() -> None:
    texts = [
        [one.text for one in svg(line([Point(START + 7_000, 0.5), Point(START + span, 0.6)])).iter("text")][-2:]
        for span in (3_600_000, DAY, 30 * DAY)
    ]
    assert texts == [["00:45", "01:00"], ["18:00", "02 Jan"], ["22 Jan", "29 Jan"]]


def test_what_is_young_is_shaded_and_told() -> None:
    now = [Point(START + n * DAY, 0.5) for n in range(5)]
    drawn = svg(line(now, young_ms=START + 3 * DAY))
    young = next(one for one in drawn.iter("rect") if one.get("class") == "young")
    assert float(young.get("width", 0)) == pytest.approx((860 - 52 - 14) / 4, abs=0.2)
    assert not list(svg(line(now, young_ms=START + 9 * DAY)).iter("rect"))
    labels = Labels(3000, 1980, 1, 2, 60_000, 5_400_000, START + DAY)
    page = as_html(replace(full(), labels=labels))
    assert "labels still coming in" in page
    for said in ("1,980 of 3,000 predicted rows", "1 label corrected", "after 1 min, 90 % after 1.5 h", "2 labels of"):
        assert said in page
        assert said in as_text(replace(full(), labels=labels))


def test_errors_versions_rollouts_and_what_is_missing_are_shown() -> None:
    served = (Served("3", "champion", 90, 1, 0.001, 0.002), Served(EVIL, "shadow", 10, 0))
    moved = RolloutView("r-1", "canary", "3", EVIL, "aborted", 5.0, START, "fail", "v", EVIL)
    report = replace(full(), served=served, rollouts=(moved,), notes=(f"No {EVIL}.",), version="")
    page, text = as_html(report), as_text(report)
    assert EVIL not in page
    for said in ("model_failed", "shadow", "aborted", "canary", "fail"):
        assert said in page
        assert said in text
    assert text.splitlines()[0].startswith(f"{EVIL}, 2026-01-01")
    assert "<small>version" not in page


@pytest.mark.parametrize(
    ("traffic", "state", "said"),
    [
        (Traffic(100, 90, 10, codes={"model_failed": 10}), "alarm", "10.0 % of the calls failed"),
        (Traffic(100, 98, 2, codes={"model_failed": 2}), "warn", "2.0 % of the calls failed"),
        (Traffic(100, 50, 50, codes={"cancelled": 50}), "ok", "Nothing unusual"),
    ],
)
def test_failing_calls_are_not_called_fine(traffic: Traffic, state: str, said: str) -> None:
    found = Report("e", "1", 0, 1, 1, traffic, (ColumnView("a", "number", "ok"),)).verdict()
    assert found[0] == state
    assert said in found[1]


def test_scores_that_expect_something_else_than_labels_say_are_a_warning() -> None:
    calm = Report("e", "1", 0, 1, 1, Traffic(5, 5), (ColumnView("a", "number", "ok"),), estimates=full().estimates)
    assert calm.verdict()[0] == "warn"
    assert "(roc_auc): has the concept changed?" in calm.verdict()[1]
