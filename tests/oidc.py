"""An OpenID Connect provider of one's own, on this machine, that rotates its keys and dies as a test says."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class Signer:
    """A private key. ``jwk``: what is published of it."""

    def __init__(self, kid: str | None = "one", algorithm: str = "RS256", bits: int = 2048) -> None:
        self.kid, self.algorithm = kid, algorithm
        if algorithm[:2] in ("RS", "PS"):
            self.key: Any = rsa.generate_private_key(65537, bits)
            told = RSAAlgorithm.to_jwk(self.key.public_key())
        elif algorithm[:2] == "ES":
            self.key = ec.generate_private_key(CURVES[algorithm])
            told = ECAlgorithm.to_jwk(self.key.public_key())
        else:
            self.key = ed25519.Ed25519PrivateKey.generate()
            told = OKPAlgorithm.to_jwk(self.key.public_key())
        self.jwk = {**json.loads(told), **({"kid": kid} if kid else {}), "use": "sig"}
        self.jwk.pop("key_ops", None)

    @property
    def pem(self) -> bytes:
        """The public key, which attackers know too."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def token(self, claims: dict[str, Any], **headers: Any) -> str:
        kid = {"kid": self.kid} if self.kid else {}
        return jwt.encode(claims, self.key, self.algorithm, {**kid, **headers})


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any], algorithm: str = "none") -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}."


class Provider:
    """``signers``: whose keys it publishes.  ``asked``: paths, in order.  ``answers``: what it says instead."""

    def __init__(self, port: int = 0) -> None:
        self.signers = [Signer()]
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.hang = 0.0
        self.issuer = ""
        self._server: ThreadingHTTPServer | None = None
        self.port = port
        self.start()

    def start(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                time.sleep(provider.hang)
                status, headers, body = provider.answers.get(self.path) or provider.answer(self.path)
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who hangs up, hangs up
        self.port = self._server.server_address[1]
        self.issuer = f"http://127.0.0.1:{self.port}/realms/a"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/realms/a/.well-known/openid-configuration":
            told: Any = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/certs", "more": [1]}
        elif path == "/realms/a/certs":
            told = {"keys": [one.jwk for one in self.signers]}
        else:
            return 404, {}, b""
        return 200, {"content-type": "application/json"}, json.dumps(told).encode()

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        said = {"iss": self.issuer, "sub": "shop", "aud": "fairlead", "exp": now + 300, "iat": now}
        return {name: value for name, value in {**said, "scope": "echo:predict", **more}.items() if value is not None}

    def token(self, **more: Any) -> str:
        return self.signers[0].token(self.claims(**more))


@contextmanager
def provider() -> Iterator[Provider]:
    made = Provider()
    try:
        yield made
    finally:
        made.stop()
