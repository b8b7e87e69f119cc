"""The infra test of an image: start it, wait, ask, look, stop it."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.client import Client
from fairlead.contracts.containers import ContainerTool, Image, Launch
from fairlead.contracts.errors import AddressInUse, ContainerFailed, FairleadError, Forbidden, Unauthenticated
from fairlead.kit import owners
from fairlead.package import image as images
from fairlead.package import image_check as verdicts
from fairlead.package.doctor import Finding, Level
from fairlead.package.image_check import Budget
from fairlead.wiring.images import tensors

_OWNER: Final = f"{images.LABEL}doctor"
"""Label of the containers that it starts: the process that removes them."""
_HERE: Final = "127.0.0.1"
_CALLS: Final = 50
_POLL: Final = 0.05
_KEY_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Check:
    """``environment``: an empty value takes this machine's.  ``command``: instead of the image's own."""

    image: str
    budget: Budget = Budget()
    network: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[str] = ()
    command: Sequence[str] = ()


def check(asked: Check, tool: ContainerTool, now: Callable[[], float] = time.perf_counter) -> list[Finding]:
    """Everything that was found. The container is gone afterwards, whatever happens.

    Raises SourceNotFound for an image that is not here, AddressInUse, and ContainerFailed where the tool itself fails.
    """
    image = tool.image(asked.image)
    _check_port(asked)
    for left, owner in tool.labelled(_OWNER).items():
        if owners.gone(owner):  # it was killed, and could not clear away
            tool.remove(left)
    findings = verdicts.of_image(image)
    began = now()
    container = f"fairlead-doctor-{secrets.token_hex(6)}"
    launch = Launch(
        asked.image, images.PORT, asked.budget.memory, asked.network, asked.environment, asked.volumes, asked.command,
        container, {_OWNER: owners.here()},
    )  # fmt: skip
    try:
        tool.start(launch)
        url = _address(tool, container, asked.network)
        seconds = _ready(tool, container, url, began, asked.budget, now)
        state = tool.state(container)
        findings.append(verdicts.of_start(seconds, state, "" if seconds else tool.logs(container), asked.budget))
        if seconds is None:
            return findings + _of_weights(image, asked)
        key = _key(tool, container) if "--access" in (asked.command or image.command) else ""
        findings += _asked(url, key, image, asked.budget, now)
        findings.append(verdicts.of_memory(tool.state(container), asked.budget))
        began = now()
        exit_code = tool.stop(container, _STOP_SECONDS)
        findings.append(verdicts.of_end(exit_code, now() - began))
    finally:
        tool.remove(container)
    return findings


def _check_port(asked: Check) -> None:
    """On the network of the machine its port is the machine's. Raises AddressInUse where somebody else answers there:
    that one would be asked."""
    if asked.network != "host":
        return
    with contextlib.suppress(OSError), socket.create_connection((_HERE, images.PORT), 1.0):
        raise AddressInUse(
            f"port {images.PORT} of this machine is another process's, and with --network host the container needs it; "
            "end that process, or leave --network out"
        )


def _of_weights(image: Image, asked: Check) -> list[Finding]:
    """Of one that did not start: whether anything said where its weights are."""
    told = {"FAIRLEAD_WEIGHTS", "FAIRLEAD_TRACKING"} & {*image.environment, *asked.environment}
    pulls = any("models:/" in word or "runs:/" in word for word in asked.command or image.command)
    if told or not pulls:
        return []
    message = (
        "it pulls them when it starts, and nothing says where from: give --env FAIRLEAD_TRACKING=URI, a --volume for "
        f"{images.HOME} that has them, or package it with --bake"
    )
    return [Finding(Level.WARN, "weights", message)]


def _address(tool: ContainerTool, container: str, network: str) -> str:
    """Empty where it has ended already, and has no port any more."""
    if network == "host":
        return f"http://{_HERE}:{images.PORT}"
    try:
        return f"http://{_HERE}:{tool.port(container, images.PORT)}"
    except (ContainerFailed, ValueError, IndexError):
        return ""


def _ready(
    tool: ContainerTool, container: str, url: str, began: float, budget: Budget, now: Callable[[], float]
) -> float | None:
    with Client(url or "http://127.0.0.1:1", timeout=2.0) as client:
        turns = 0
        while now() - began < budget.ready:
            if client.ready():
                return now() - began
            turns += 1
            if turns % 10 == 0 and not tool.state(container).running:
                return None
            time.sleep(_POLL)
    return None


def _key(tool: ContainerTool, container: str) -> str:
    """A key of the container's own, which is gone with it."""
    words = ["fairlead", "keys", "create", "--name", f"doctor-{secrets.token_hex(4)}", "--json", "--expires", "1h"]
    for scope in ("*:predict", "*:describe"):
        words += ["--scope", scope]
    try:
        return str(json.loads(tool.run(container, words))["key"])
    except (ValueError, KeyError) as error:
        raise ContainerFailed("fairlead keys create in the container said nothing that is a key") from error


def _asked(url: str, key: str, image: Image, budget: Budget, now: Callable[[], float]) -> list[Finding]:
    text = image.labels.get(images.EXAMPLE, "")
    if not text:
        message = "the image has no input example, so nothing was asked; log the model with one, and package it again"
        return [Finding(Level.WARN, "answer", message)]
    try:
        example: Any = json.loads(text)
        row, recorded = tensors(example["inputs"]), tensors(example["outputs"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [Finding(Level.FAIL, "answer", f"the label {images.EXAMPLE} holds no example; package the model again")]
    endpoint = image.labels.get(f"{images.LABEL}endpoint", "")
    with Client(url, key=key) as client:
        try:
            _known(client, endpoint)
            answer = client.predict(endpoint, row)
            seconds = []
            for _ in range(_CALLS):
                began = now()
                client.predict(endpoint, row)
                seconds.append(now() - began)
        except FairleadError as error:
            return [Finding(Level.FAIL, "answer", f"it does not answer its own example: {error}")]
    return [verdicts.of_answer(recorded, dict(answer)), verdicts.of_latency(seconds, budget)]


def _known(client: Client, endpoint: str) -> None:
    """Wait until the server has read the new key."""
    ends = time.monotonic() + _KEY_SECONDS
    while time.monotonic() < ends:
        with contextlib.suppress(Unauthenticated, Forbidden):
            client.metadata(endpoint)
            return
        time.sleep(_POLL)
    client.metadata(endpoint)
