"""Keys that an issuer publishes (RFC 7517): those that can check a signature, by what they are called. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

_MOST: Final = 100
"""Keys of a set that are read."""
_LEAST_BITS: Final = 2048
"""Of an RSA key; NIST SP 800-131A."""
_READ: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = {
    "RSA": (RSAAlgorithm, ("kty", "n", "e")),
    "EC": (ECAlgorithm, ("kty", "crv", "x", "y")),
    "OKP": (OKPAlgorithm, ("kty", "crv", "x")),
}
"""How a kind of key is read, and its public members: whatever else it says is not. Shared secrets are none of them."""
_EC: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class Key(NamedTuple):
    """``kind``, ``curve``: ``kty`` and ``crv``.  ``algorithm``: the only one it is for; empty: any that fits.

    ``public``: the library's object.  ``material``: its bytes.
    """

    kid: str | None
    kind: str
    curve: str
    algorithm: str
    public: Any
    material: bytes

    def fits(self, algorithm: str) -> bool:
        if self.algorithm not in ("", algorithm):
            return False
        if self.kind == "EC":
            return _EC.get(algorithm) == self.curve
        return algorithm.startswith(("RS", "PS")) if self.kind == "RSA" else algorithm == "EdDSA"


def read(data: bytes) -> tuple[Key, ...]:
    """The keys of a set; those that we cannot use are left out. Raises ValueError when none is left."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is no JSON") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no set of keys: it has no list 'keys'")  # noqa: TRY004 - of what was read
    keys = tuple(key for one in listed[:_MOST] if (key := _key(one)) is not None)
    if not keys:
        raise ValueError("it has no key that can check a signature")
    return keys


def choose(keys: Iterable[Key], kid: str | None, algorithm: str) -> Key | None:
    """The key that a token names; one that names none is checked by the only key that fits."""
    fit = [key for key in keys if key.fits(algorithm) and (kid is None or key.kid == kid)]
    return fit[0] if len(fit) == 1 else None


def _key(one: Any) -> Key | None:
    if not isinstance(one, dict) or one.get("use", "sig") != "sig":
        return None
    operations, kind, kid = one.get("key_ops", ["verify"]), one.get("kty", ""), one.get("kid")
    if not isinstance(operations, list) or "verify" not in operations or not isinstance(kind, str) or kind not in _READ:
        return None
    algorithm, names = _READ[kind]
    try:
        public = algorithm.from_jwk({name: one[name] for name in names})
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < _LEAST_BITS:
        return None
    curve, only = one.get("crv", ""), one.get("alg", "")
    name = kid if isinstance(kid, str) else None
    material = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(name, kind, curve, only if isinstance(only, str) else "", public, material)
