from __future__ import annotations

from typing import Any

import pytest

from fairlead.contracts.access import Scope
from fairlead.serve.access.certified import Certificates, Certified
from fairlead.testing.clock import ManualClock

SCOPES = (Scope("echo", "predict"),)
KNOWN = [
    Certified(SCOPES, san="spiffe://prod/shop", tenant="shop"),
    Certified(SCOPES, san="Ops.Example.com"),
    Certified(SCOPES, cn="batch"),
    Certified((), san="spiffe://prod/shop"),
]
LATER = "Jan  1 00:00:00 2030 GMT"


def shows(*san: tuple[str, str], cn: str = "", ends: str = LATER) -> dict[str, Any]:
    """As ``ssl`` gives it."""
    subject = ((("organizationName", "x"),), (("commonName", cn),)) if cn else ()
    return {"subject": subject, "subjectAltName": san, "notAfter": ends}


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        (shows(("URI", "spiffe://prod/shop")), "spiffe://prod/shop"),
        (shows(("DNS", "OPS.example.com")), "Ops.Example.com"),
        (shows(cn="batch"), "CN=batch"),
        (shows(("DNS", "ops.example.com"), ("URI", "spiffe://prod/shop"), cn="batch"), "spiffe://prod/shop"),
        (shows(("DNS", "ops.example.com"), cn="batch"), "Ops.Example.com"),
        (shows(("URI", "spiffe://prod/shop/")), None),
        (shows(("URI", "SPIFFE://PROD/SHOP")), None),
        (shows(("DNS", "spiffe://prod/shop")), None),
        (shows(("URI", "ops.example.com")), None),
        (shows(("email", "batch"), ("DNS", "batch")), None),
        (shows(cn="ops.example.com"), None),
        (shows(cn="Batch"), None),
        (shows(("DNS", "x.ops.example.com"), ("DNS", "*.example.com")), None),
        ({}, None),
    ],
)
def test_names(shown: dict[str, Any], name: str | None) -> None:
    caller = Certificates(KNOWN, ManualClock())(shown)
    assert (caller.name if caller else None) == name
    if caller:
        assert (caller.kind, caller.scopes) == ("mtls", SCOPES)


def test_one_that_ends_while_its_connection_lasts() -> None:
    clock = ManualClock(wall=1_893_456_000.0 - 1)  # a second before LATER
    certificates, shown = Certificates(KNOWN, clock), shows(cn="batch")
    first = certificates(shown)
    assert first is not None
    assert certificates(shown) is first
    clock.advance(1)
    assert certificates(shown) is None
    for ends in ("", "soon", "Jan 32 00:00:00 2030 GMT"):
        assert Certificates(KNOWN, ManualClock())(shows(cn="batch", ends=ends)) is None
    many = Certificates(KNOWN, ManualClock())
    for year in range(1000, 3100):
        many(shows(cn="batch", ends=f"Jan  1 00:00:00 {year} GMT"))
    assert len(many._ends) <= 1024
