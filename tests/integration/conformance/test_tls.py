"""The same over TLS, and what is wrong with a certificate told in one sentence."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from running import Running
from wire import ECHO, HEALTH, LIMIT, Wire, chunked, document, post, serve, until

from fairlead.contracts.errors import UsageError
from fairlead.serve.settings import ServerSettings
from fairlead.serve.tls import options

LATE = b"/v2/models/late/infer"


def make(folder: Path, name: str, passphrase: bytes = b"") -> tuple[str, str]:
    """A certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    built = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    pem = serialization.Encoding.PEM
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, hidden))
    return str(cert_file), str(key_file)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make(tmp_path_factory.mktemp("tls"), "good")


@pytest.fixture(scope="session")
def trust(pair: tuple[str, str]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pair[0])


@pytest.fixture(scope="module")
def _secure(pair: tuple[str, str]) -> Iterator[dict[str, Running]]:
    files = {"tls_cert": pair[0], "tls_key": pair[1], "read_timeout": 0.5}
    with serve("short", **files) as short, serve("long", **files) as long:
        yield {"short": short, "long": long}


@pytest.fixture
def secure(_secure: dict[str, Running], way: str) -> Running:
    return _secure[way]


def test_pipelined_in_order(secure: Running, trust: ssl.SSLContext) -> None:
    kinds = [
        post(1),
        post(2, path=LATE),
        HEALTH,
        post(3, b"transfer-encoding: chunked", size=False, body=chunked(document(3))),
    ]
    with Wire(secure, b"".join(kinds) + post(4) * 400, trust) as wire:
        for value in (1, 2, 0, 3, *[4] * 400):
            answer = wire.answer()
            assert answer.is_for(value) if value else answer.status == 200


def test_byte_by_byte_large_and_oversize(secure: Running, trust: ssl.SSLContext) -> None:
    large = post(6, body=document(6) + b" " * 200_000)
    with Wire(secure, tls=trust) as wire:
        for byte in post(5):
            wire.send(bytes((byte,)))
        assert wire.answer().is_for(5)
        for _ in range(2):
            wire.send(large)
            assert wire.answer().is_for(6)
        wire.send(post(7, body=b" " * (LIMIT + 1)))
        assert wire.answer().status == 413
        wire.send(post(8, b"connection: close"))
        assert wire.answer().is_for(8)
        assert wire.end()


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", post(1)[:-5], post(1, path=ECHO)[:30]])
def test_refusals(secure: Running, trust: ssl.SSLContext, data: bytes) -> None:
    with Wire(secure, post(1) + data, trust) as wire:
        assert wire.answer().is_for(1)
        answer = wire.answer()
        assert answer.status in (400, 408)
        assert answer.closes
        assert wire.end()


def test_who_leaves_is_heard(secure: Running, trust: ssl.SSLContext) -> None:
    wire = Wire(secure, post(1, path=b"/v2/models/slow/infer") + post(2), trust)
    until(lambda: secure.pipeline.in_flight == 1)
    wire.close()
    until(lambda: secure.pipeline.in_flight == 0)


def test_plain_http_to_it_harms_nobody(secure: Running, trust: ssl.SSLContext) -> None:
    with Wire(secure, post(1)) as wire, suppress(ConnectionError):
        assert wire.end() or not wire._read.startswith(b"HTTP/")
    with Wire(secure, post(2), trust) as wire:
        assert wire.answer().is_for(2)


def test_one_file_may_hold_both(pair: tuple[str, str], tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(pair[0]).read_text() + Path(pair[1]).read_text())
    assert options(ServerSettings(tls_cert=str(both))) == {"ssl_certfile": str(both), "ssl_keyfile": str(both)}
    assert options(ServerSettings()) == {}


def test_what_is_wrong_is_one_sentence(pair: tuple[str, str], tmp_path: Path) -> None:
    cert, key = pair
    other = make(tmp_path, "other")[1]
    locked = make(tmp_path, "locked", b"secret")
    text = tmp_path / "text"
    text.write_text("hello")
    wrong = [
        (str(tmp_path / "none"), key, "cannot read .*none: No such file"),
        (cert, str(tmp_path / "none"), "cannot read .*none: No such file"),
        (str(tmp_path), key, "Is a directory"),
        (cert, other, "does not belong to the certificate"),
        (*locked, "is encrypted"),
        (str(text), key, "both must be PEM"),
        (cert, str(text), "both must be PEM"),
        (cert, "", "both must be PEM"),
    ]
    for given_cert, given_key, words in wrong:
        with pytest.raises(UsageError, match=words) as caught:
            options(ServerSettings(tls_cert=given_cert, tls_key=given_key))
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="--tls-cert"):
        ServerSettings(tls_key=key)
