"""TLS files that change under a running server, over HTTP and gRPC."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from running import Running, running

from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.testing.models import EchoModel

PEM = serialization.Encoding.PEM
MODEL = EchoModel(Signature((TensorSpec("x", DataType.FP32, (-1,)),), (TensorSpec("y", DataType.FP32, (-1,)),)))


def issue(name: str, *, kind: str = "ec", days: float = 30) -> tuple[bytes, bytes, int]:
    """Certificate and key in PEM, and its serial number."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, serial = dt.datetime.now(dt.UTC), x509.random_serial_number()
    built = x509.CertificateBuilder(who, who, key.public_key(), serial)
    built = built.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=days))
    private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return built.sign(key, hashes.SHA256()).public_bytes(PEM), private, serial


def presented(port: int, protocols: list[str], name: str | None = "localhost") -> int:
    """The serial number of the certificate that a new connection gets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    with (
        socket.create_connection(("127.0.0.1", port), 5) as link,
        context.wrap_socket(link, server_hostname=name) as tls,
    ):
        data = tls.getpeercert(binary_form=True)
        assert data is not None
        return x509.load_der_x509_certificate(data).serial_number


def everywhere(server: Running) -> set[int]:
    assert server.grpc is not None
    places = ((server.port, ["http/1.1"]), (server.grpc.port, ["h2"]))
    return {presented(port, protocols, name) for port, protocols in places for name in ("localhost", None)}


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A folder as cert-manager mounts it: links to ``..data``, which is a link to what is newest."""
    write(tmp_path, "first", *issue("first")[:2])
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    return tmp_path


def write(folder: Path, version: str, cert: bytes, key: bytes) -> None:
    """Swap the files in one step."""
    new = folder / f"..{version}"
    new.mkdir()
    (new / "tls.crt").write_bytes(cert)
    (new / "tls.key").write_bytes(key)
    (folder / "..tmp").symlink_to(new.name)
    (folder / "..tmp").replace(folder / "..data")


@pytest.fixture
def server(mounted: Path) -> Iterator[Running]:
    files = {"tls_cert": str(mounted / "tls.crt"), "tls_key": str(mounted / "tls.key"), "grpc_port": 0}
    with running({"echo": MODEL}, **files) as found:
        yield found


def test_a_renewed_pair_is_used_by_new_connections(server: Running, mounted: Path) -> None:
    (before,) = everywhere(server)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", server.port), 5) as link, context.wrap_socket(link) as old:
        for version, kind in (("rsa", "rsa"), ("ec", "ec")):  # of the other kind: nothing of the old one is left
            cert, key, serial = issue(version, kind=kind)
            write(mounted, version, cert, key)
            until(lambda serial=serial: everywhere(server) == {serial})
        old.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert old.recv(100).startswith(b"HTTP/1.1 200")  # who was in stays in
    assert before not in everywhere(server)


def test_what_cannot_be_loaded_changes_nothing(server: Running, mounted: Path) -> None:
    renewal = server.server._companions[-1]
    (before,) = everywhere(server)
    good, other = issue("good"), issue("other")
    for version, cert, key in (
        ("mismatch", good[0], other[1]),
        ("half", good[0][: len(good[0]) // 2], good[1]),
        ("empty", b"", b""),
    ):
        write(mounted, version, cert, key)
        until(lambda: bool(renewal.troubles()))
        assert "the certificate of before is used" in renewal.troubles()[0]
        assert everywhere(server) == {before}
        write(mounted, f"{version}-mended", *good[:2])
        until(lambda: not renewal.troubles())
        assert everywhere(server) == {good[2]}
        good, before = issue("good"), good[2]
    (mounted / "..data").unlink()
    until(lambda: bool(renewal.troubles()))
    assert "No such file" in renewal.troubles()[0]
    assert everywhere(server) == {before}


def test_files_that_are_written_one_after_the_other(tmp_path: Path) -> None:
    first, second = issue("first"), issue("second")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(first[0])
    key.write_bytes(first[1])
    with running({"echo": MODEL}, tls_cert=str(cert), tls_key=str(key), grpc_port=0) as server:
        assert everywhere(server) == {first[2]}
        cert.write_bytes(second[0])
        time.sleep(1.5)
        assert everywhere(server) == {first[2]}
        key.write_bytes(second[1])
        until(lambda: everywhere(server) == {second[2]})


def test_the_end_is_measured_and_told(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    soon = issue("soon", days=3)
    cert.write_bytes(soon[0])
    key.write_bytes(soon[1])
    with running({"echo": MODEL}, tls_cert=str(cert), tls_key=str(key)) as server:
        renewal = server.server._companions[-1]
        assert "ends in 3.0 days" in renewal.troubles()[0]
        ends = x509.load_pem_x509_certificate(soon[0]).not_valid_after_utc.timestamp()
        with httpx.Client(base_url=f"https://127.0.0.1:{server.port}", verify=False) as client:
            text = client.get("/metrics").text
        (line,) = [one for one in text.splitlines() if one.startswith("fairlead_tls_certificate_expiry_timestamp")]
        assert float(line.split()[1]) == ends
        later = issue("later", days=60)
        cert.write_bytes(later[0])
        key.write_bytes(later[1])
        until(lambda: not renewal.troubles())
