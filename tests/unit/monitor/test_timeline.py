from __future__ import annotations

from datetime import timedelta, timezone

from fairlead.contracts.plans import Happening
from fairlead.contracts.state import Entry
from fairlead.monitor.timeline import as_text, chosen, pairs, read, write

DAY = 86_400_000
START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
MOVED = {"from": "1", "verdict": {"id": "v7", "lift": 0.01234567}}
DRIFTED = {"psi": 0.31, "since_ms": START, "alarm": True, "p": None}
LINES = [
    Happening("churn", "alias", "champion is version 2", START + DAY, MOVED),
    Happening("churn", "drift", "age drifted", START + 1000, DRIFTED),
    Happening("fraud", "alert", "AucLow fires", START + 2000),
]


def test_lines_by_day_and_time_with_their_evidence() -> None:
    assert as_text(LINES[:2]).splitlines() == [
        "2026-01-01 (UTC)",
        "  00:00:01  drift  age drifted",
        "                   psi 0.31; since 2026-01-01 00:00:00; alarm yes; p none",
        "",
        "2026-01-02 (UTC)",
        "  00:00:00  alias  champion is version 2",
        "                   from 1; verdict.id v7; verdict.lift 0.01235",
    ]


def test_several_endpoints_are_named_and_the_zone_is_the_readers() -> None:
    text = as_text(LINES[1:], evidence=False, zone=timezone(timedelta(hours=-5), "EST"))
    assert text.splitlines() == [
        "2025-12-31 (EST)",
        "  19:00:01  churn  drift  age drifted",
        "  19:00:02  fraud  alert  AucLow fires",
    ]
    assert as_text([]) == ""


def test_long_evidence_is_wrapped_and_shortened() -> None:
    evidence = {f"name_{place}": "x" * 90 for place in range(3)} | {
        "many": list(range(20)),
        "rows": [{"a": 1}, {"a": 2}],
    }
    lines = as_text([Happening("e", "data", "seen", START, evidence)]).splitlines()
    assert max(map(len, lines)) <= 110
    assert "[0, 1, 2, 3, 4, 5, 6, 7, ...]" in lines[-1] or "[0, 1, 2, 3, 4, 5, 6, 7, ...]" in lines[-2]
    assert "rows[1].a 2" in lines[-1]
    assert "..." in lines[2]


def test_filters() -> None:
    assert [one.endpoint for one in chosen(LINES)] == ["churn", "fraud", "churn"]
    assert chosen(LINES, endpoint="fraud") == LINES[2:]
    assert chosen(LINES, what=("alias", "deploy")) == LINES[:1]
    assert chosen(LINES, since_ms=START + 2000, until_ms=START + DAY) == LINES[2:]
    assert chosen(LINES, contains="DRIFTED") == [LINES[1]]


def test_through_the_store() -> None:
    class State:
        def __init__(self) -> None:
            self.kept: list[Entry] = []

        def append(self, kind: str, subject: str, body: dict) -> None:
            self.kept.append(Entry(kind, subject, len(self.kept), 0, body))

        def entries(self, kind: str, subject: str, *, since_ms: int, until_ms: int | None, limit: int) -> list[Entry]:
            return [one for one in self.kept if one.kind == kind and one.subject == subject]

    state = State()
    for line in LINES:
        write(state, line)  # type: ignore[arg-type]
    assert read(state, "churn") == LINES[:2]  # type: ignore[arg-type]


def test_a_number_that_is_empty_says_so() -> None:
    assert pairs({"phase": "canary", "verdict": "", "before": None}) == [
        "phase canary", "verdict none", "before none",
    ]  # fmt: skip
