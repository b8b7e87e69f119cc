"""Dates of certificates, beside what ``cryptography`` reads."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.serve.certificate import Validity, validity
from fairlead.serve.renewal import ending

KEYS = [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]
KEYS += [rsa.generate_private_key(65537, 2048)]
PEM = serialization.Encoding.PEM
WHO = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a" * 60)])
FIRST, LAST = dt.datetime(1950, 1, 1), dt.datetime(9999, 12, 31)  # noqa: DTZ001 - hypothesis adds the zone
TIMES = st.datetimes(FIRST, LAST, timezones=st.just(dt.UTC))


def pem(since: dt.datetime, until: dt.datetime, key=KEYS[0], serial: int = 7) -> bytes:
    built = x509.CertificateBuilder(WHO, WHO, key.public_key(), serial).not_valid_before(since).not_valid_after(until)
    sign = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return built.sign(key, sign).public_bytes(PEM)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(TIMES, TIMES), st.sampled_from(KEYS), st.integers(1, 2**159 - 1))
def test_dates_are_those_that_another_library_reads(tmp_path: Path, times, key, serial: int) -> None:
    since, until = sorted(one.replace(microsecond=0) for one in times)
    path = tmp_path / "one.pem"
    path.write_bytes(b"# a comment\n" + pem(since, until, key, serial) + pem(since, since))
    theirs = x509.load_pem_x509_certificate(pem(since, until, key, serial))
    expected = theirs.not_valid_before_utc.timestamp(), theirs.not_valid_after_utc.timestamp()
    assert validity(str(path)) == expected


def test_what_is_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "one.pem"
    whole = pem(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
    lines = whole.splitlines(keepends=True)
    for data in (b"", b"\xff\x00", whole[:200], b"".join([lines[0], *lines[2:]]), b"".join([*lines[:2], lines[-1]])):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="certificate"):
            validity(str(path))
    with pytest.raises(OSError, match="No such file"):
        validity(str(tmp_path / "none"))


DAY = 86_400.0


@pytest.mark.parametrize(
    ("whole", "left", "said"),
    [
        (90 * DAY, 7 * DAY, ""),
        (90 * DAY, 7 * DAY - 1, "ends in 7.0 days"),
        (90 * DAY, 2 * DAY, "ends in 2.0 days"),
        (90 * DAY, 7200, "ends in 2.0 hours"),
        (90 * DAY, 0, "has ended"),
        (90 * DAY, -5, "has ended"),
        (3 * DAY, 2.9 * DAY, "ends in 2.9 days"),
        (3600, 1200, ""),
        (3600, 1199, "ends in 0.3 hours"),
    ],
)
def test_when_an_end_is_a_trouble(whole: float, left: float, said: str) -> None:
    found = ending(Validity(1000.0, 1000.0 + whole), 1000.0 + whole - left)
    assert (said in found) if said else found == ""
