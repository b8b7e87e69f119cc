"""An authority that issues certificates to servers and callers."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Authority:
    """``ca``: file of its own certificate. Files go into ``folder``."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = self._building(self._name, self._key, 3650)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._own = built.sign(self._key, hashes.SHA256())
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._own.public_bytes(PEM))

    def issue(self, name: str, *san: str, cn: str = "", seconds: float = 90 * 86_400) -> Path:
        """One file with a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)] if cn else [])
        built = self._building(who, key, seconds / 86_400)
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(one) if ":" in one else x509.DNSName(one) for one in san
        ]
        if name == "server":
            names += [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        if names:
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=not cn)
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self._folder / f"{name}.pem"
        path.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(PEM) + private)
        return path

    def _building(self, who: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        built = x509.CertificateBuilder(self._name, who, key.public_key(), x509.random_serial_number())
        return built.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=days))
