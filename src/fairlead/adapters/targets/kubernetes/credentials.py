"""Who we are to a cluster: a token, one that changes, or what a program of the user's says. Never shown or logged."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from fairlead.contracts.errors import TargetForbids, UsageError
from fairlead.kit import config

AGAIN: Final = 60.0
"""Seconds after which a file is read again: the kubelet replaces a pod's token before it ends."""
EARLY: Final = 30.0
"""Seconds before its end in which a token is not used any more."""
RUNS: Final = 60.0
"""Seconds that a program may take, since it may ask a person."""
_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC: Final = {"apiVersion", "command", "args", "env", "installHint", "interactiveMode", "provideClusterInfo"}


class Credentials(Protocol):
    def header(self) -> str:
        """Of ``authorization``; empty for none. Raises TargetForbids when there is none to be had."""

    def refuse(self) -> bool:
        """The cluster does not believe it: whether there may be another now."""


class _Fixed:
    def refuse(self) -> bool:
        return False


class Nobody(_Fixed):
    def header(self) -> str:
        return ""


class Token(_Fixed):
    def __init__(self, token: str) -> None:
        self._token = token

    def header(self) -> str:
        return _bearer(self._token)


class Basic(_Fixed):
    def __init__(self, name: str, password: str) -> None:
        self._value = base64.b64encode(f"{name}:{password}".encode()).decode()

    def header(self) -> str:
        return f"Basic {self._value}"


class FromFile:
    def __init__(self, path: Path) -> None:
        self._path, self._token, self._read = path, "", -AGAIN

    def header(self) -> str:
        if time.monotonic() - self._read >= AGAIN:
            try:
                self._token, self._read = self._path.read_text().strip(), time.monotonic()
            except OSError as error:
                raise TargetForbids(f"the token in {self._path} cannot be read: {error.strerror}") from None
        return _bearer(self._token)

    def refuse(self) -> bool:
        before, self._read = self._token, -AGAIN
        return self.header() != _bearer(before)


class Executed:
    """A program that a kubeconfig names (`exec`); Kubernetes documentation, "client-go credential plugins"."""

    def __init__(self, how: Mapping[str, Any], path: Path, cluster: Mapping[str, Any]) -> None:
        for field in how.keys() - _EXEC:
            raise UsageError(f"{path}: exec: {field} is not honoured; leave it out")
        if how.get("apiVersion") not in _VERSIONS:
            raise UsageError(
                f"{path}: exec: apiVersion is {how.get('apiVersion')!r}; expected {' or '.join(_VERSIONS)}"
            )
        if not isinstance(how.get("command"), str) or not how["command"]:
            raise UsageError(f"{path}: exec: command is missing")
        command = str(how["command"])
        beside = "/" in command and not command.startswith("/")
        self._words = [str(path.parent / command) if beside else command, *map(str, how.get("args") or [])]
        spec: dict[str, Any] = {"interactive": False}
        if how.get("provideClusterInfo"):
            spec["cluster"] = {key: value for key, value in cluster.items() if key != "extensions"}
        told = {"apiVersion": how["apiVersion"], "kind": "ExecCredential", "spec": spec}
        self._more = {str(one["name"]): str(one["value"]) for one in how.get("env") or []}
        self._more["KUBERNETES_EXEC_INFO"] = json.dumps(told)
        self._hint = str(how.get("installHint") or "").strip()
        self._token, self._ends = "", 0.0

    def header(self) -> str:
        if not self._token or time.time() >= self._ends - EARLY:
            self._token, self._ends = self._asked()
        return _bearer(self._token)

    def refuse(self) -> bool:
        self._token = ""
        return True

    def _asked(self) -> tuple[str, float]:
        name = self._words[0]
        try:
            ended = subprocess.run(  # noqa: S603 - the user's own kubeconfig names it, as for every client of a cluster
                self._words,
                env={**config.variables(), **self._more},
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=RUNS,
                check=False,
            )
        except OSError as error:
            raise TargetForbids(
                f"{name}, which the kubeconfig names for credentials: {error.strerror}. {self._hint}".rstrip(". ")
            ) from None
        except subprocess.TimeoutExpired:
            raise TargetForbids(f"{name} gave no credentials within {RUNS:g} s; run it once by hand") from None
        if ended.returncode != 0:
            raise TargetForbids(
                f"{name} gave no credentials: exit code {ended.returncode}; run it once by hand to log in"
            )
        try:
            status = json.loads(ended.stdout)["status"]
            until = status.get("expirationTimestamp")
            ends = datetime.fromisoformat(until).timestamp() if until else float("inf")
            token = str(status["token"])
        except (ValueError, KeyError, TypeError, AttributeError):  # its words may be a secret: they are not repeated
            raise TargetForbids(f"{name} gave no ExecCredential with a token; only tokens are taken from it") from None
        return token, ends


def _bearer(token: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise TargetForbids("the token for the cluster is not one line of ASCII text, as a header must be")
    return f"Bearer {token}" if token else ""
