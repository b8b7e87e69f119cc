from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.errors import InputError, InvalidParameter, MalformedBody
from fairlead.contracts.events import Label
from fairlead.monitor.feedback import MOST, Lines, parse_csv, parse_json

NOW = 1_800_000_000_000


def parse(value: Any, endpoint: str = "") -> list[Label]:
    return parse_json(json.dumps(value).encode(), now_ms=NOW, endpoint=endpoint)


def test_a_list_of_labels() -> None:
    body = {
        "endpoint": "churn",
        "labels": [
            {"prediction_id": "a-1", "label": 1},
            {"prediction_id": "a-2", "row": 3, "label": "yes", "at": "2026-01-31T08:30:00Z"},
            {"prediction_id": 77, "label": True, "at": 1_767_225_600_000},
            {"key": "order-5", "reward": 12.5, "at": "2026-01-31T09:30:00+01:00"},
        ],
    }
    assert parse(body) == [
        Label("churn", "a-1", 1.0, NOW),
        Label("churn", "a-2", "yes", 1_769_848_200_000, 3),
        Label("churn", "77", 1.0, 1_767_225_600_000),
        Label("churn", "order-5", 12.5, 1_769_848_200_000, 0, True),
    ]


def test_one_label_alone_and_the_callers_endpoint() -> None:
    assert parse({"prediction_id": "a", "label": 0}, "churn") == [Label("churn", "a", 0.0, NOW)]
    assert parse({"endpoint": "churn", "key": "k", "reward": 2}) == [Label("churn", "k", 2.0, NOW, 0, True)]
    assert parse({"labels": [{"prediction_id": "a", "label": 0}]}, "churn")[0].endpoint == "churn"
    assert parse({"labels": [{"prediction_id": "a", "label": 0, "endpoint": "fraud"}]})[0].endpoint == "fraud"
    with pytest.raises(InvalidParameter, match="'fraud' here and 'churn' in the request"):
        parse({"endpoint": "fraud", "labels": [{"prediction_id": "a", "label": 0}]}, "churn")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": 1}, "give either prediction_id or key, both are missing"),
        ({"prediction_id": "a", "key": "b", "label": 1}, "give either prediction_id or key, not both"),
        ({"prediction_id": "a"}, "give either label or reward, both are missing"),
        ({"prediction_id": "a", "label": None}, "give either label or reward, both are missing"),
        ({"prediction_id": "a", "label": 1, "reward": 1}, "give either label or reward, not both"),
        ({"prediction_id": "a", "label": [1]}, "label must be a number, a text, true or false"),
        ({"prediction_id": "a", "label": " "}, "label must be a number or a text"),
        ({"prediction_id": "a", "label": 10**400}, "JSON is malformed|label must be a finite number|out of range"),
        ({"prediction_id": "", "label": 1}, "prediction_id must be a text of 1 to 512"),
        ({"key": True, "label": 1}, "key must be a text of 1 to 512"),
        ({"prediction_id": "x" * 600, "label": 1}, "prediction_id must be a text of 1 to 512"),
        ({"prediction_id": "a", "label": 1, "row": -1}, "row must be a whole number from 0"),
        ({"prediction_id": "a", "label": 1, "row": 1.5}, "row must be a whole number from 0"),
        ({"prediction_id": "a", "label": 1, "at": "yesterday"}, "at must be an ISO time"),
        ({"prediction_id": "a", "label": 1, "at": 1_767_225_600}, "seconds times 1000"),
        ({"prediction_id": "a", "label": 1, "at": True}, "at must be an ISO time"),
        ({"prediction_id": "a", "label": 1, "at": "1901-01-01"}, "before 1970"),
        ({"prediction_id": "a", "label": 1, "at": "2099-01-01"}, "in the future"),
        ({"prediction_id": "a", "label": 1, "lable": 2}, "unknown field 'lable'; did you mean label"),
        ({"prediction_id": "a", "label": 1, "endpoint": 5}, "endpoint must be a name"),
        ("text", "expected an object, found 'text'"),
    ],
)
def test_a_bad_label_is_named(row: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse({"labels": [{"prediction_id": "good", "label": 1}, row]}, "churn")


def test_every_bad_row_is_named_up_to_ten_and_nothing_is_kept() -> None:
    rows = [{"prediction_id": "a", "label": 1}] + [{"prediction_id": "a"} for _ in range(12)]
    with pytest.raises(InvalidParameter) as caught:
        parse({"labels": rows}, "churn")
    text = str(caught.value)
    assert text.startswith("labels[1]: give either label or reward")
    assert "labels[10]:" in text
    assert "labels[11]:" not in text
    assert text.endswith("; and 2 more; nothing was kept")


def test_a_body_that_cannot_be_read() -> None:
    for body, reason in (
        (b"{", "malformed"),
        (b"[1]", "must be a JSON object"),
        (b"\xff", "malformed"),
        (b'{"label": NaN}', "malformed"),
    ):
        with pytest.raises(MalformedBody, match=reason):
            parse_json(body, now_ms=NOW)
    for value, reason in (
        ({"labels": []}, "at least one label"),
        ({"labels": {}}, "at least one label"),
        ({"labels": [0] * (MOST + 1)}, "at most 10000"),
        ({"labels": [1], "endpiont": "e"}, "unknown field 'endpiont' beside labels; did you mean endpoint"),
        ({"labels": [1], "endpoint": ""}, "endpoint must be a name"),
        ({"prediction_id": "a", "label": 1}, "endpoint is missing"),
    ):
        with pytest.raises(InvalidParameter, match=reason):
            parse(value)


NAMES = st.sampled_from(["labels", "label", "prediction_id", "key", "row", "at", "endpoint"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
        max_leaves=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_json_gives_labels_or_an_input_error(value: Any) -> None:
    body = json.dumps(value).encode()
    try:
        labels = parse_json(body, now_ms=NOW, endpoint="churn")
    except InputError:
        return
    assert labels
    assert all(one.endpoint == "churn" and one.key and isinstance(one.value, float | str) for one in labels)


def csv(text: str, endpoint: str = "churn") -> Lines:
    return parse_csv(text.splitlines(keepends=True), now_ms=NOW, endpoint=endpoint)


def test_a_csv_file() -> None:
    found = csv('\ufeffprediction_id,row,label,at\na-1,0,1,1767225600000\na-2,,no,\n\n"a,3",2,0.5,2026-01-01\n')
    assert found.bad == ()
    assert found.labels == (
        Label("churn", "a-1", 1.0, 1_767_225_600_000),
        Label("churn", "a-2", "no", NOW),
        Label("churn", "a,3", 0.5, 1_767_225_600_000, 2),
    )
    assert csv("key,reward,endpoint\nk,2,fraud\n", "").labels == (Label("fraud", "k", 2.0, NOW, 0, True),)


def test_bad_lines_are_told_with_their_numbers_and_the_others_kept() -> None:
    found = csv('prediction_id,row,label\na,0,1\nb,x,1\nc,0\n,0,1\nd,0,nan\ne,0,1_0\n"f"g,0,1\nh,0,2\n')
    assert [one.key for one in found.labels] == ["a", "e", "h"]
    assert found.labels[1].value == "1_0"
    assert [number for number, _ in found.bad] == [3, 4, 5, 6, 8]
    assert found.as_text().splitlines()[1] == "line 4: it has 2 cells, the header 3"
    assert "row must be a whole number" in found.bad[0][1]
    assert "finite" in found.bad[3][1]
    assert "it is no CSV" in found.bad[4][1]
    many = Lines((), tuple((number, "bad") for number in range(13)))
    assert many.as_text().splitlines()[-1] == "and 3 more lines"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("prediction_id,labl\n", "unknown column 'labl'; did you mean label"),
        ("prediction_id,row\n", "label or reward, are needed"),
        ("label,row\n", "prediction_id or key"),
        ("prediction_id,label,label\n", "twice"),
        ('"a"b,label\n', "header cannot be read"),
    ],
)
def test_a_header_that_cannot_work(text: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        csv(text)


def test_the_endpoint_must_come_from_somewhere() -> None:
    with pytest.raises(InvalidParameter, match="the column endpoint is needed"):
        csv("prediction_id,label\n", "")


def test_a_quote_that_is_never_closed_spoils_its_line_only() -> None:
    found = csv('prediction_id,label\na,1\n"b,1\nc,1\n')
    assert [one.key for one in found.labels] == ["a", "c"]
    assert [number for number, _ in found.bad] == [3]
