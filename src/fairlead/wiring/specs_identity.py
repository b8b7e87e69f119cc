"""What a spec says of callers who show no key: what it contradicts itself in, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from fairlead.contracts.access import EVERY
from fairlead.contracts.errors import UsageError
from fairlead.contracts.identity import SHARED, Claims, Issuer
from fairlead.kit.config import nearest
from fairlead.kit.hosts import loopback
from fairlead.kit.scopes import scope
from fairlead.kit.secrets import secret
from fairlead.kit.spec.access import Access
from fairlead.kit.spec.identity import Certificate, Jwt
from fairlead.kit.spec.read import SpecFile
from fairlead.serve.access.certified import Certified
from fairlead.wiring.identity import Identity


def required(access: Access) -> bool:
    """Whether callers must show who they are: who says how they may, means that they must."""
    if "required" in access.model_fields_set:
        return access.required
    return access.jwt is not None or bool(access.certificates)


def identity(access: Access) -> Identity:
    """Raises UsageError for a secret that is not there."""
    return Identity(
        _issuer(access.jwt) if access.jwt is not None else None, tuple(map(_certified, access.certificates))
    )


def check(file: SpecFile) -> None:
    """Raises UsageError that names the line, and where two contradict each other both."""
    access, server = file.spec.access, file.spec.server
    for part in ("jwt", "certificates"):
        if getattr(access, part) and not required(access):
            raise UsageError(
                f"{file.at('access', part)} says how callers show who they are, and {file.at('access', 'required')} is "
                "false: nobody is asked; leave one of them out"
            )
    if access.certificates and (server.tls is None or not server.tls.client_ca):
        where = file.at("server", "tls") if server.tls else file.at("server")
        raise UsageError(
            f"{file.at('access', 'certificates')} is about callers' certificates, and {where} asks for none; give "
            "server.tls.client_ca, the authorities that sign them"
        )
    seen: dict[tuple[str, str], int] = {}
    for place, one in enumerate(access.certificates):
        at = file.at("access", "certificates", place)
        if bool(one.san) == bool(one.cn):
            raise UsageError(f"{at}: give one of san and cn; found {'both' if one.san else 'none of them'}")
        first = seen.setdefault(_certified(one).name, place)
        if first != place:
            raise UsageError(
                f"{at} is for the same name as {file.at('access', 'certificates', first)}: {one.san or one.cn}; "
                "leave one of them out"
            )
    if access.jwt is not None:
        _check_jwt(file, access.jwt)
    _check_endpoints(file)


def _check_jwt(file: SpecFile, jwt: Jwt) -> None:
    def at(name: str) -> str:
        return file.at("access", "jwt", name)

    shared = [one for one in jwt.algorithms if one in SHARED]
    if shared and len(shared) != len(jwt.algorithms):
        raise UsageError(
            f"{at('algorithms')} mixes {shared[0]}, which is checked with a secret, and those that are checked with "
            "published keys; a published key must never be taken for the secret: give one kind"
        )
    if shared and not jwt.secret:
        raise UsageError(f"{at('algorithms')} is {shared[0]}, which needs a secret; give access.jwt.secret: env:NAME")
    if jwt.secret and not shared:
        raise UsageError(
            f"{at('secret')} is a secret that both sides share, and {at('algorithms')} is {', '.join(jwt.algorithms)}, "
            "which are checked with published keys; give algorithms: [HS256], or leave the secret out"
        )
    if jwt.secret and jwt.jwks:
        raise UsageError(f"{at('secret')} and {at('jwks')}: tokens are checked with one of them; leave one out")
    if not jwt.secret:
        where, url = ("jwks", jwt.jwks) if jwt.jwks else ("issuer", jwt.issuer)
        if (where == "issuer" or "://" in url) and not _safe(url):
            raise UsageError(
                f"{at(where)}: keys are fetched by https:// only, or from this machine, and without a user; give "
                "such a URL, or a file as jwks"
            )
    if bool(jwt.groups) != bool(jwt.grants):
        there, missing = ("groups", "grants") if jwt.groups else ("grants", "groups")
        raise UsageError(f"{at(there)} means nothing without access.jwt.{missing}; give both")
    if not jwt.scopes and not jwt.grants:
        raise UsageError(
            f"{at('scopes')} is empty, and there are no grants: no token could do anything; give one of them"
        )


def _check_endpoints(file: SpecFile) -> None:
    """Raises UsageError for a scope of an endpoint that is not in the spec."""
    known = list(file.spec.endpoints)
    for path, texts in _granted(file.spec.access):
        for text in texts:
            endpoint = scope(text).endpoint
            if endpoint not in (EVERY, *known):
                raise UsageError(f"{file.at(*path)}: scope {text!r} is of no endpoint here{nearest(endpoint, known)}")


def _granted(access: Access) -> Iterator[tuple[tuple[str | int, ...], tuple[str, ...]]]:
    for place, one in enumerate(access.certificates):
        yield ("access", "certificates", place, "scopes"), one.scopes
    for name, texts in (access.jwt.grants if access.jwt else {}).items():
        yield ("access", "jwt", "grants", name), texts


def _safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    own = loopback(host) if parts.scheme == "http" else parts.scheme == "https"
    return own and bool(host) and parts.username is None


def _certified(one: Certificate) -> Certified:
    return Certified(tuple(map(scope, one.scopes)), one.san, one.cn, one.tenant)


def _issuer(jwt: Jwt) -> Issuer:
    return Issuer(
        jwt.issuer,
        jwt.audience,
        jwt.algorithms,
        jwt.jwks,
        secret(jwt.secret) if jwt.secret else None,
        jwt.clock_skew,
        jwt.refresh,
        jwt.ca,
        Claims(
            jwt.scopes,
            jwt.scope_prefix,
            jwt.groups,
            {name: tuple(map(scope, texts)) for name, texts in jwt.grants.items()},
            jwt.tenant,
        ),
    )
