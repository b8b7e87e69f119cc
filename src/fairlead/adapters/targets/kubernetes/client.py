"""Questions to a cluster's API over HTTP, and its refusals as errors of ours."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

from fairlead.adapters.targets.kubernetes.access import Access
from fairlead.contracts.errors import (
    ObjectConflict,
    ObjectRejected,
    ObjectTooLarge,
    TargetError,
    TargetForbids,
    TargetUnreachable,
)
from fairlead.kit.sentences import cause, without_secrets

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
WAIT: Final = 0.2
"""Seconds before the first try again; doubled with each."""
LONGEST: Final = 5.0
"""Seconds that a cluster may have us wait before one more try."""
_MANAGER: Final = re.compile(r'conflict with "(?P<name>[^"]*)"')
_RIGHT: Final = re.compile(r'cannot \S+ resource "')
_BUSY: Final = (429, 500, 502, 503, 504)
_log = logging.getLogger("fairlead.targets")


class FieldsTaken(ObjectConflict):
    """Server-side apply would overrule other managers. ``fields``: path to who set it."""

    def __init__(self, message: str, fields: Mapping[str, str]) -> None:
        super().__init__(message)
        self.fields = fields


class Client:
    """``sleep``: waits seconds, for tests."""

    def __init__(self, access: Access, seconds: float, tries: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self.access = access
        self._tries = max(tries, 1)
        self._sleep = sleep
        self._shown = ""
        self._http = httpx.Client(
            base_url=access.server,
            verify=access.tls or True,
            proxy=access.proxy or None,
            trust_env=False,
            timeout=seconds,
            headers={"accept": "application/json", "user-agent": "fairlead"},
        )

    def get(self, path: str, **params: str) -> dict[str, Any] | None:
        """None: it is not there."""
        return self._asked("GET", path, params, again=True, missing=True)

    def apply(self, path: str, body: Mapping[str, Any], **params: str) -> dict[str, Any]:
        """Server-side apply."""
        return self._there(self._asked("PATCH", path, params, body, APPLY, again=True), path)

    def merge(self, path: str, body: Mapping[str, Any], **params: str) -> dict[str, Any]:
        return self._there(self._asked("PATCH", path, params, body, MERGE), path)

    def create(self, path: str, body: Mapping[str, Any], **params: str) -> dict[str, Any]:
        return self._there(self._asked("POST", path, params, body), path)

    def replace(self, path: str, body: Mapping[str, Any], **params: str) -> dict[str, Any]:
        return self._there(self._asked("PUT", path, params, body), path)

    def delete(self, path: str, body: Mapping[str, Any]) -> None:
        """Nothing happens where it is not there. ``body`` says which object is meant, so that it is asked again."""
        self._asked("DELETE", path, {}, body, again=True, missing=True)

    def close(self) -> None:
        self._http.close()

    def _there(self, answer: dict[str, Any] | None, path: str) -> dict[str, Any]:
        if answer is None:
            raise TargetError(f"{self._named()} answered nothing for {path}")
        return answer

    def _asked(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        *,
        again: bool = False,
        missing: bool = False,
    ) -> dict[str, Any] | None:
        """``again``: it may be sent once more, because that changes nothing twice."""
        tries, renewed = self._tries if again else 1, False
        for number in range(1, tries + 2):
            try:
                response = self._sent(method, path, params, body, kind)
                if (
                    response.status_code == httpx.codes.UNAUTHORIZED
                    and not renewed
                    and self.access.credentials.refuse()
                ):
                    renewed = True
                    response = self._sent(method, path, params, body, kind)
                if missing and response.status_code == httpx.codes.NOT_FOUND:
                    return None
                return self._answer(response, path)
            except TargetUnreachable as error:
                if number >= tries:
                    raise
                wait = min(error.retry_after or WAIT * 2 ** (number - 1), LONGEST)
                _log.debug("asked again", extra={"fields": {"path": path, "why": str(error), "seconds": wait}})
                self._sleep(wait)
        raise TargetUnreachable(f"{self._named()} does not answer")

    def _sent(
        self, method: str, path: str, params: Mapping[str, str], body: Mapping[str, Any] | None, kind: str
    ) -> httpx.Response:
        headers = {"content-type": kind}
        if value := self.access.credentials.header():
            headers["authorization"] = value
            self._shown = value.partition(" ")[2]
        more = {"sni_hostname": self.access.sni} if self.access.sni else {}
        try:
            content = None if body is None else _encoded(body)
            return self._http.request(method, path, params=params, content=content, headers=headers, extensions=more)
        except httpx.HTTPError as error:
            raise TargetUnreachable(
                f"{self._named()} does not answer: {cause(error)}; nothing is known to have changed"
            ) from None

    def _answer(self, response: httpx.Response, path: str) -> dict[str, Any]:
        try:
            found = response.json()
        except ValueError:
            found = {}
        if response.is_success and isinstance(found, dict) and found:
            return found
        raise self._refused(response, found if isinstance(found, dict) else {}, path)

    def _refused(self, response: httpx.Response, status: Mapping[str, Any], path: str) -> TargetError:
        """As ``metav1.Status`` says it."""
        code, details = response.status_code, status.get("details") or {}
        said = self._hidden(str(status.get("message") or f"HTTP {code}"))
        match code:
            case 401:
                return TargetForbids(f"{self._named()} does not know who we are; log in again, or use another context")
            case 403:
                missing = _RIGHT.search(said)  # else a quota, an admission hook, or a namespace that ends
                right = "; give this account that right (docs/deploying.md lists those needed)" if missing else ""
                return TargetForbids(f"{said}{right}")
            case 409 if taken := _taken(details):
                return FieldsTaken(f"{said}; read it again", taken)
            case 409:
                return ObjectConflict(f"{said}; read it again")
            case 413:
                return ObjectTooLarge(f"the cluster does not take it: {said}")
            case 400 | 405 | 415 | 422:
                causes = details.get("causes") or []
                fields = "; ".join(self._hidden(f"{one.get('field')}: {one.get('message')}") for one in causes)
                return ObjectRejected(f"the cluster does not take it: {fields or said}")
            case 404:
                return ObjectRejected(f"{said} ({path})")
        if code in _BUSY:
            after = details.get("retryAfterSeconds") or response.headers.get("retry-after")
            seconds = float(after) if str(after or "").isdecimal() else None
            return TargetUnreachable(f"{self._named()} cannot answer now: {said}", retry_after=seconds)
        return TargetError(f"{self._named()} answered with HTTP {code}: {said}")

    def _hidden(self, text: str) -> str:
        """What the cluster said, without the credentials that it was shown, should it repeat them."""
        return text.replace(self._shown, "***") if self._shown else text

    def _named(self) -> str:
        return f"cluster {without_secrets(self.access.server)} (context {self.access.name})"


def _taken(details: Mapping[str, Any]) -> dict[str, str]:
    """Of a conflict of server-side apply: path to the manager, as its message names it."""
    causes = [one for one in details.get("causes") or [] if one.get("reason") == "FieldManagerConflict"]
    found = {}
    for one in causes:
        named = _MANAGER.search(str(one.get("message", "")))
        found[str(one.get("field", "")).lstrip(".")] = named["name"] if named else "somebody else"
    return found


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
