"""How a cluster is reached: from a kubeconfig file, or from inside a pod. Secrets stay inside and are never shown.

Source: Kubernetes documentation, "Organizing Cluster Access Using kubeconfig Files", "Accessing the API from a Pod".
A field of a kubeconfig that is not honoured is an error.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from fairlead.adapters.targets.kubernetes.credentials import Basic, Credentials, Executed, FromFile, Nobody, Token
from fairlead.contracts.errors import UsageError
from fairlead.contracts.target import Where
from fairlead.kit import config
from fairlead.kit.hosts import loopback
from fairlead.kit.sentences import without_secrets

POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CLUSTER: Final = {
    "server",
    "certificate-authority",
    "certificate-authority-data",
    "tls-server-name",
    "proxy-url",
    "disable-compression",
    "extensions",
}
_USER: Final = {
    "token",
    "tokenFile",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "username",
    "password",
    "exec",
    "extensions",
}
_REMEDIES: Final = {
    "insecure-skip-tls-verify": "name the cluster's certificate-authority instead: who answers must be known",
    "auth-provider": "Kubernetes has dropped it; use exec",
}


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """``server``: URL.  ``name``: of the context, for people.  ``sni``: the name that its certificate must have."""

    server: str
    name: str
    namespace: str
    credentials: Credentials
    tls: ssl.SSLContext | None
    proxy: str = ""
    sni: str = ""


def access(where: Where, pod: Path = POD) -> Access:
    """A file that is named wins; then ``KUBECONFIG``, ``~/.kube/config``, and what a pod is given.

    Raises UsageError when there is none of them, and for what cannot be read or honoured.
    """
    environ = config.variables()
    named = [where.config] if where.config else [Path(one) for one in environ.get("KUBECONFIG", "").split(":") if one]
    files = named or [Path("~/.kube/config")]
    there = [one.expanduser() for one in files if one.expanduser().is_file()]
    if there:
        return _from_files(there, where)
    if where.config is None and not named and environ.get("KUBERNETES_SERVICE_HOST") and (pod / "token").is_file():
        return _from_pod(where, pod, environ)
    looked = ", ".join(map(str, files))
    raise UsageError(f"no cluster is configured: {looked} is not there; name a kubeconfig file with --kubeconfig")


def _from_pod(where: Where, pod: Path, environ: Mapping[str, str]) -> Access:
    host = environ["KUBERNETES_SERVICE_HOST"]
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    own = (pod / "namespace").read_text().strip() if (pod / "namespace").is_file() else "default"
    tls = _tls((pod / "ca.crt").read_bytes() if (pod / "ca.crt").is_file() else b"", b"", b"", str(pod / "ca.crt"))
    return Access(server, "in-cluster", where.namespace or own, FromFile(pod / "token"), tls)


def _from_files(files: list[Path], where: Where) -> Access:
    merged: dict[str, dict[str, tuple[Path, dict[str, Any]]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = ""
    for path in files:  # of what two files name alike the first holds
        document = _document(path)
        current = current or str(document.get("current-context") or "")
        for part, found in merged.items():
            for one in document.get(part) or []:
                found.setdefault(str(one.get("name")), (path, one.get(part[:-1]) or {}))
    name = where.context or current
    if name not in merged["contexts"]:
        known = ", ".join(sorted(merged["contexts"])) or "none"
        raise UsageError(f"{files[0]}: no context {name or '(none is current)'!r}; there are: {known}; use --context")
    _, context = merged["contexts"][name]
    at, cluster = _named(merged["clusters"], context.get("cluster"), f"{files[0]}: context {name!r}: cluster")
    user_at, user = at, dict[str, Any]()
    if context.get("user"):
        user_at, user = _named(merged["users"], context["user"], f"{files[0]}: context {name!r}: user")
    _known(cluster, _CLUSTER, f"{at}: cluster {context.get('cluster')!r}")
    _known(user, _USER, f"{user_at}: user {context.get('user')!r}")
    server = str(cluster.get("server") or "")
    if not server.startswith(("https://", "http://")):
        raise UsageError(
            f"{at}: cluster {context.get('cluster')!r}: server is {without_secrets(server)!r}; expected https://HOST:PORT"
        )
    credentials = _credentials(user, user_at, cluster)
    if server.startswith("http://") and not isinstance(credentials, Nobody) and not loopback(httpx.URL(server).host):
        raise UsageError(f"{at}: server {without_secrets(server)} would get credentials unencrypted; use https")
    return Access(
        server.rstrip("/"),
        name,
        where.namespace or str(context.get("namespace") or "default"),
        credentials,
        _tls_of(cluster, at, user, user_at) if server.startswith("https://") else None,
        str(cluster.get("proxy-url") or ""),
        str(cluster.get("tls-server-name") or ""),
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, UnicodeDecodeError):  # what it says may repeat a secret
        raise UsageError(f"{path} is not a kubeconfig: it cannot be read as YAML") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not a kubeconfig: a mapping with contexts, clusters and users is expected")
    return found


def _named(found: Mapping[str, tuple[Path, dict[str, Any]]], name: Any, where: str) -> tuple[Path, dict[str, Any]]:
    if str(name) not in found:
        raise UsageError(f"{where} {name!r} is not in it; there are: {', '.join(sorted(found)) or 'none'}")
    return found[str(name)]


def _known(given: Mapping[str, Any], known: set[str], where: str) -> None:
    for field, value in given.items():
        if field not in known and value not in (None, False, ""):
            remedy = _REMEDIES.get(field, "leave it out, or use another context")
            raise UsageError(f"{where}: {field} is not honoured; {remedy}")


def _credentials(user: Mapping[str, Any], path: Path, cluster: Mapping[str, Any]) -> Credentials:
    if user.get("token"):
        return Token(str(user["token"]))
    if user.get("tokenFile"):
        return FromFile(path.parent / str(user["tokenFile"]))
    if user.get("username"):
        return Basic(str(user["username"]), str(user.get("password") or ""))
    if user.get("exec"):
        return Executed(user["exec"], path, cluster)
    return Nobody()


def _tls_of(cluster: Mapping[str, Any], at: Path, user: Mapping[str, Any], user_at: Path) -> ssl.SSLContext:
    ca = _bytes(cluster, "certificate-authority", at)
    certificate, key = (_bytes(user, f"client-{what}", user_at) for what in ("certificate", "key"))
    if bool(certificate) is not bool(key):
        raise UsageError(f"{user_at}: client-certificate and client-key need each other")
    return _tls(ca, certificate, key, str(at))


def _tls(ca: bytes, certificate: bytes, key: bytes, where: str) -> ssl.SSLContext:
    """Authorities of the machine where ``ca`` is empty. What the client shows never stays in a file."""
    try:
        made = ssl.create_default_context(cadata=ca.decode() if ca else None)
        if certificate:
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # 0600; the ssl module reads files only
                file.write(certificate + b"\n" + key)
                file.flush()
                made.load_cert_chain(file.name)
    except (ssl.SSLError, ValueError):
        raise UsageError(f"{where}: a certificate or key in it is not PEM that belongs together") from None
    return made


def _bytes(given: Mapping[str, Any], field: str, path: Path) -> bytes:
    """What ``FIELD-data`` holds, else the file that ``FIELD`` names, beside the kubeconfig."""
    if data := given.get(f"{field}-data"):
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error:
            raise UsageError(f"{path}: {field}-data is not base64") from None
    if not given.get(field):
        return b""
    file = path.parent / str(given[field])
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {field} {file}: {error.strerror}") from None
