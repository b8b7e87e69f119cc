"""TLS: the certificate is looked at before anything is bound, so that what is wrong with it is one sentence."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import UsageError
from fairlead.serve.settings import ServerSettings


def options(settings: ServerSettings) -> dict[str, Any]:
    """What uvicorn is told; nothing without a certificate. Raises UsageError."""
    cert, key = settings.tls_cert, settings.tls_key or settings.tls_cert
    if not cert:
        return {}
    ca = settings.tls_client_ca
    for path in {cert, key, *([ca] if ca else [])}:
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"TLS: cannot read {path}: {error.strerror}") from None
    asked = []

    def passphrase() -> str:
        asked.append(key)
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(f"TLS: {_reason(error, cert, key, bool(asked))}") from None
    if not ca:
        return {"ssl_certfile": cert, "ssl_keyfile": key}
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(ca)
    except ssl.SSLError:
        raise UsageError(f"TLS: no certificate of an authority in {ca}; it must be PEM (-----BEGIN ...)") from None
    return {"ssl_certfile": cert, "ssl_keyfile": key, "ssl_ca_certs": ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}


def context(settings: ServerSettings, protocols: Sequence[str] = ()) -> ssl.SSLContext | None:
    """For a listener that speaks ``protocols`` (of ALPN); None without a certificate. Raises UsageError.

    Where callers show certificates no session is resumed: each new connection shows its own again.
    """
    if not options(settings):
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(settings.tls_cert, settings.tls_key or settings.tls_cert, lambda: "")
        if settings.tls_client_ca:
            made.load_verify_locations(settings.tls_client_ca)
            made.verify_mode = ssl.CERT_REQUIRED
            made.options |= ssl.OP_NO_TICKET
            made.num_tickets = 0
    except (OSError, ValueError) as error:  # of ssl too
        raise UsageError(f"TLS: the files changed while they were read ({error})") from None
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made


def _reason(error: Exception, cert: str, key: str, encrypted: bool) -> str:
    if encrypted:
        return f"the key in {key} is encrypted; give one without a passphrase (openssl pkey -in {key} -out plain.pem)"
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return f"the key in {key} does not belong to the certificate in {cert}"
    return f"no certificate in {cert} or no key in {key}; both must be PEM (-----BEGIN ...)"
