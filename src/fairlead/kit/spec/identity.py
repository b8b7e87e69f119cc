"""What the spec says of callers who show no key: tokens of an issuer, and certificates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from fairlead.contracts.errors import UsageError
from fairlead.kit.scopes import scope
from fairlead.kit.spec.part import Part, Reference, Seconds


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])]
"""One text, or a list of them."""

_Asymmetric = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_Shared = Literal["HS256", "HS384", "HS512"]


def _scopes(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        try:
            scope(text)
        except UsageError as error:
            raise ValueError(str(error)) from None
    return value


class Jwt(Part):
    """Tokens (JWT) of an OpenID Connect provider, or of whoever signs them."""

    issuer: str = Field(min_length=1, max_length=1024)
    """Who signs them, as they say in `iss`."""
    audience: Texts = Field(min_length=1, max_length=64)
    """For whom they are made, as they say in `aud`: one of these, or a list of which one suffices."""
    algorithms: tuple[_Asymmetric | _Shared, ...] = Field(default=("RS256", "ES256"), min_length=1)
    """Signatures that are taken, whatever a token says. `HS256` and its kin need `secret`, and stand alone."""
    jwks: str = ""
    """Keys of the issuer: `https://` URL or file; empty: where its OpenID configuration says."""
    secret: Reference = Field(default="", examples=["env:JWT_SECRET"])
    """Where the secret is that both sides share, instead of keys: `env:NAME` or `file:PATH`."""
    ca: str = ""
    """Authorities (PEM) that sign the certificate of the issuer's server; empty: those of the machine."""
    clock_skew: Seconds = Field(default=60.0, ge=0, le=600)
    """How far the issuer's clock may be from ours."""
    refresh: Seconds = Field(default=300.0, ge=5, le=86_400)
    """Time after which keys are fetched again; a token with an unknown key has them fetched at once."""
    scopes: str = "scope"
    """Claim that lists scopes, `churn:predict`, as words or a list; `a.b` leads into a claim. Empty: none does."""
    scope_prefix: str = ""
    """What stands before scopes in that claim; words without it say nothing here."""
    groups: str = Field(default="", examples=["realm_access.roles"])
    """Claim that names groups or roles of the caller, each of which may stand for scopes in `grants`."""
    grants: dict[str, tuple[str, ...]] = Field(default_factory=dict, examples=[{"ml-team": ["*:predict"]}])
    """Scopes of everybody in a group, by its name."""
    tenant: str = ""
    """Claim that says whom the caller shares limits with; empty: none."""

    @field_validator("grants")
    @classmethod
    def _are_scopes(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for granted in value.values():
            _scopes(granted)
        return value


class Certificate(Part):
    """Whom a certificate stands for. Exactly one of san and cn."""

    san: str = Field(default="", max_length=1024, examples=["spiffe://prod/shop"])
    """A URI or a DNS name among its subject alternative names."""
    cn: str = Field(default="", max_length=256)
    """The common name of its subject."""
    scopes: tuple[str, ...] = Field(min_length=1, max_length=64)
    """What its holder may do: `churn:predict`, `*:metrics`."""
    tenant: str = Field(default="", max_length=256)
    """Whom its holder shares limits with; empty: nobody."""

    @field_validator("scopes")
    @classmethod
    def _are_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _scopes(value)
