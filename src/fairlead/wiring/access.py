"""Who may call a server: keys in the state store, what a gate stands on, and the key that this machine keeps itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fairlead.contracts.access import EVERY, Action, Scope
from fairlead.contracts.audit import Auditor
from fairlead.contracts.errors import Conflict, MissingExtra, NotFound, StateError, UsageError
from fairlead.contracts.state import StateStore
from fairlead.kit import config
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import from_body, to_body
from fairlead.kit.config import Home
from fairlead.kit.money import written
from fairlead.serve.access import keys
from fairlead.serve.access.callers import Callers
from fairlead.serve.access.follow import KeyFollower
from fairlead.serve.access.gate import Gate
from fairlead.serve.access.keys import Key, Secret
from fairlead.serve.access.rules import Rules
from fairlead.serve.endpoint import Live
from fairlead.serve.llm.ledger.books import balance
from fairlead.serve.settings import ServerSettings
from fairlead.wiring.identity import Identity
from fairlead.wiring.stores import state
from fairlead.wiring.watching import has_state

KIND: Final = "access-key"
"""Documents of the state store: one a name."""
LOCAL: Final = "local"
"""The key of the commands on this machine, which looks and changes nothing. It is in no store."""
_LOCAL_SCOPES: Final = (Scope(EVERY, Action.DESCRIBE), Scope(EVERY, Action.METRICS))

_TRIES: Final = 10

Load = Callable[[asyncio.AbstractEventLoop], Live]


def needed(settings: ServerSettings, asked: bool, insecure: bool, how: str = "--access") -> bool:
    """Whether callers must show who they are. ``asked``: what flags and spec say.  ``how``: to ask for it.

    Raises UsageError for a server that other machines reach and that asks nobody, MissingExtra for no store.
    """
    if asked and insecure:
        raise UsageError("--insecure lets everybody call, and access is on; leave one of them out")
    if asked and not has_state():
        raise MissingExtra("access needs a store for its keys: pip install 'fairlead[registry]'")
    if not asked and settings.public and not insecure:
        raise UsageError(
            f"other machines reach host {settings.host}, and nobody is asked who they are: give {how} (and make keys: "
            "fairlead keys create), or --insecure where something in front of the server asks"
        )
    return asked


def gate(rules: Rules | None, identity: Identity, audit: Auditor | None = None) -> Gate | None:
    """What stands before a server of these rules; it knows no key until ``follower`` read them."""
    if rules is None:
        return None
    callers = Callers(SystemClock(), verifiers=identity.verifiers, certificates=identity.certified())
    return Gate(rules, callers, audit)


def follower(home: Home, gate: Gate) -> KeyFollower:
    """Keeps the gate's keys as the store says."""

    def read() -> tuple[Sequence[Key], Sequence[str]]:
        found, broken = known(state(home))
        return [*found, _local(home)], broken

    return KeyFollower(gate, read, SystemClock())


def first(follower: KeyFollower, load: Load) -> Load:
    """Loads a model once the keys are read: nobody who has one is refused because it was too early."""

    def loaded(loop: asyncio.AbstractEventLoop) -> Live:
        follower.prime(loop)
        return load(loop)

    return loaded


def known(store: StateStore) -> tuple[list[Key], list[str]]:
    """Every key by name, revoked ones too, and what cannot be read."""
    found, broken = [], []
    for one in store.all(KIND):
        try:
            found.append(from_body(Key, one.body))
        except StateError as error:
            broken.append(f"key {one.key!r} does not hold: {error}")
    return found, broken


def brought(store: StateStore) -> dict[str, int]:
    """Amounts of the budgets that keys bring, by balance; of revoked ones too, whose spending still shows."""
    return {balance(one, key.tenant, key.name, ""): one.amount for key in known(store)[0] for one in key.budgets}


def document(key: Key, now_ms: int) -> dict[str, Any]:
    """A key as commands and pages show it: no secret, no digest of one."""
    return {
        "name": key.name,
        "state": key.state(now_ms),
        "scopes": [str(one) for one in key.scopes],
        "ids": [one.id for one in key.secrets if keys.held(key, one, now_ms)],
        "tenant": key.tenant,
        "rates": [_rate(one.amount, one.measure, f"{one.seconds:g}s") for one in key.limits.rates],
        "quotas": [_rate(one.amount, one.measure, one.period) for one in key.limits.quotas],
        "concurrency": key.limits.concurrency,
        "budgets": [f"{written(one.amount, one.currency)}/{one.window}" for one in key.budgets],
        "created": moment(key.created_ms),
        "expires": moment(key.expires_ms),
        "revoked": moment(key.revoked_ms),
        "by": key.by,
    }


def _rate(amount: float, measure: str, per: str) -> str:
    return f"{amount:,g} {measure}/{per}"


def moment(ms: int) -> str:
    """As ISO 8601, in UTC; empty for never."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else ""


def create(home: Home, key: Key) -> tuple[Key, str]:
    """Make it, and its secret, which is kept nowhere. Raises Conflict where one of this name holds, UsageError."""
    store, now = state(home), SystemClock.wall_ms()
    if key.name == LOCAL:
        raise UsageError(f"the name {LOCAL!r} is taken by the commands of this machine; choose another")
    whole, text = keys.made(key, now)
    there = store.get(KIND, key.name)
    if there is not None and from_body(Key, there.body).state(now) == "active":
        raise Conflict(
            f"there is a key {key.name!r}; replace its secret (fairlead keys rotate {key.name}), or revoke it first"
        )
    store.put(KIND, key.name, to_body(whole), there.revision if there else 0)
    return whole, text


def revoke(home: Home, name_or_id: str) -> Key:
    """Take it back, at once. Raises NotFound."""
    return _change(home, name_or_id, lambda key: (keys.revoked(key, _id(key, name_or_id), SystemClock.wall_ms()), ""))[
        0
    ]


def rotate(home: Home, name: str, overlap_ms: int) -> tuple[Key, str]:
    """A new secret in place of those that hold, which do so ``overlap_ms`` more. Raises NotFound or Conflict."""
    return _change(home, name, lambda key: keys.rotated(key, SystemClock.wall_ms(), overlap_ms))


def shown_key(home: Home | None = None) -> str:
    """What a command of this machine shows a server: the user's own key, else the one of the home; empty for none."""
    if own := config.api_key():
        return own
    try:
        return _file(home).read_text().strip() if home is not None else ""
    except OSError:
        return ""


def _change(home: Home, name_or_id: str, change: Callable[[Key], tuple[Key, str]]) -> tuple[Key, str]:
    store = state(home)
    for _ in range(_TRIES):
        name = keys.named(known(store)[0], name_or_id).name
        document = store.get(KIND, name)
        if document is None:
            break
        key, text = change(from_body(Key, document.body))
        try:
            store.put(KIND, name, to_body(key), document.revision)
        except Conflict:
            continue  # another command was quicker: once more, on what it left
        return key, text
    raise NotFound(f"key {name_or_id[:80]!r} changes all the time; try again")


def _id(key: Key, name_or_id: str) -> str:
    return name_or_id if name_or_id == key.name else name_or_id.removeprefix(keys.MARK)


def _local(home: Home) -> Key:
    """The key of this machine's commands; made when there is none. Only the user of the home can read it."""
    path = _file(home)
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _, text = keys.made(Key(LOCAL, _LOCAL_SCOPES, (), 0), 0)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return _local(home)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
    id_ = text.removeprefix(keys.MARK).partition("_")[0]
    return Key(LOCAL, _LOCAL_SCOPES, (Secret(id_, keys.digest(text.encode()), 0),), 0)


def _file(home: Home) -> Path:
    return home.root / "local.key"
