"""Fetches the keys of an issuer from a file, a URL or where its OpenID configuration says. Bounded in size and time."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from fairlead.adapters.verifiers.keys import Key, read
from fairlead.contracts.identity import Issuer
from fairlead.kit.hosts import loopback

SECONDS: Final = 5.0
"""For one document, from the name to the last byte."""
LARGEST: Final = 512 * 1024
"""Bytes of one document."""
CONFIGURATION: Final = "/.well-known/openid-configuration"


class NotFetched(Exception):
    """``str(error)`` says why, in a few words."""


class _Configuration(msgspec.Struct):
    issuer: str
    jwks_uri: str


def keys(issuer: Issuer) -> tuple[Key, ...]:
    """Raises NotFetched."""
    where = issuer.jwks or _discovered(issuer)
    try:
        return read(get(where, issuer.ca) if "://" in where else _file(where))
    except ValueError as error:
        raise NotFetched(f"{where}: {error}") from None


def get(url: str, ca: str = "") -> bytes:
    """What is there. Only by https, or from this machine; no redirect is followed. Raises NotFetched."""
    parts = urlsplit(url)
    own = loopback(parts.hostname)
    if parts.scheme != "https" and not (own and parts.scheme == "http"):
        raise NotFetched(f"{url} is neither https nor of this machine")
    ends, found = time.monotonic() + SECONDS, bytearray()
    try:
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca) if ca else True
        with (
            httpx.Client(verify=verify, timeout=SECONDS, trust_env=not own) as client,
            client.stream("GET", url, headers={"accept": "application/json"}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise NotFetched(f"{url} answers with status {answer.status_code}")
            for piece in answer.iter_bytes():
                found += piece
                if len(found) > LARGEST:
                    raise NotFetched(f"{url} has more than {LARGEST} bytes")
                if time.monotonic() > ends:
                    raise NotFetched(f"{url} is not there after {SECONDS:g} seconds")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # of ssl too
        raise NotFetched(f"{url} cannot be fetched: {str(error)[:200] or type(error).__name__}") from None
    return bytes(found)


def _discovered(issuer: Issuer) -> str:
    """Where the issuer says its keys are. Whoever is not of this machine may not send us to it."""
    url = issuer.issuer.rstrip("/") + CONFIGURATION
    try:
        told = msgspec.json.decode(get(url, issuer.ca), type=_Configuration)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotFetched(f"{url} is no OpenID configuration with issuer and jwks_uri") from None
    if told.issuer != issuer.issuer:
        raise NotFetched(f"{url} is of the issuer {told.issuer[:200]!r}")
    try:
        there, here = urlsplit(told.jwks_uri), urlsplit(issuer.issuer)
        inside = loopback(there.hostname) and not loopback(here.hostname)
    except ValueError:
        inside = True
    if inside or there.username is not None:
        raise NotFetched(f"{url} names keys at {told.jwks_uri[:200]!r}, which is not asked")
    return told.jwks_uri


def _file(path: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as handle:
            data = handle.read(LARGEST + 1)
    except OSError as error:
        raise NotFetched(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST:
        raise NotFetched(f"{path} has more than {LARGEST} bytes")
    return data
