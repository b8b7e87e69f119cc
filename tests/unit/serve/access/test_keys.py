from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest

from fairlead.contracts.errors import Conflict, NotFound, UsageError
from fairlead.contracts.limits import Limits, Rate
from fairlead.kit.codec.records import from_body, to_body
from fairlead.kit.scopes import scope
from fairlead.serve.access import keys
from fairlead.serve.access.keys import Key, KeyRing

NOW = 1_000_000
PLAIN = Key("web", (scope("churn:predict"),), (), NOW, tenant="acme", limits=Limits((Rate(5, 1),)))


def made(key: Key = PLAIN) -> tuple[Key, bytes]:
    whole, text = keys.made(key, NOW)
    return whole, text.encode()


def test_a_key_has_160_random_bits_and_only_its_hash_is_kept() -> None:
    whole, text = made()
    found = re.fullmatch(rb"fl_([a-z2-7]{16})_([a-z2-7]{32})", text)
    assert found
    assert len(found[2]) * 5 == 160
    assert whole.secrets[0].id == found[1].decode()
    assert whole.secrets[0].sha256 == hashlib.sha256(text).hexdigest()
    assert found[2].decode() not in repr(whole)
    assert len({made()[1] for _ in range(100)}) == 100


def test_what_is_stored_comes_back() -> None:
    whole, _ = made()
    assert from_body(Key, to_body(whole)) == whole


def test_a_ring_finds_who_it_is() -> None:
    whole, text = made()
    found = KeyRing([whole]).find(text, NOW)
    assert found is not None
    caller = found.caller
    assert (caller.name, caller.kind, caller.tenant, caller.limits) == ("web", "key", "acme", PLAIN.limits)
    assert found.until_ms == 0
    assert [str(one) for one in caller.scopes] == ["churn:predict"]


def test_a_ring_knows_who_came_before() -> None:
    whole, _ = made()
    caller = KeyRing([whole]).named("web", NOW)
    assert caller is not None
    assert (caller.name, caller.scopes) == ("web", PLAIN.scopes)
    assert KeyRing([whole]).named("other", NOW) is None
    assert KeyRing([keys.revoked(whole, "web", NOW)]).named("web", NOW) is None
    assert KeyRing([keys.revoked(whole, whole.secrets[0].id, NOW)]).named("web", NOW) is None
    ending = replace(whole, expires_ms=NOW + 5)
    assert KeyRing([ending]).named("web", NOW + 4) is not None
    assert KeyRing([ending]).named("web", NOW + 5) is None


@pytest.mark.parametrize("change", range(len("fl_") + 16 + 1 + 32))
def test_every_letter_counts(change: int) -> None:
    whole, text = made()
    other = bytearray(text)
    other[change] = ord("b") if other[change] != ord("b") else ord("c")
    assert KeyRing([whole]).find(bytes(other), NOW) is None


@pytest.mark.parametrize("text", [b"", b"fl_", b"fl_a_b", b"Bearer x", b"\xff" * 53, b"fl_" + b"a" * 5000])
def test_what_is_no_key(text: bytes) -> None:
    assert KeyRing([made()[0]]).find(text, NOW) is None


def test_a_key_of_the_same_id_with_another_secret_is_none() -> None:
    (one, text), (two, other) = made(), made()
    swapped = b"_".join((*text.split(b"_")[:2], other.split(b"_")[2]))
    assert KeyRing([one, two]).find(swapped, NOW) is None


def test_it_ends_when_it_expires() -> None:
    whole, text = made(Key("web", PLAIN.scopes, (), NOW, expires_ms=NOW + 10))
    ring = KeyRing([whole])
    assert ring.find(text, NOW + 9) is not None
    assert ring.find(text, NOW + 10) is None
    assert (whole.state(NOW + 9), whole.state(NOW + 10)) == ("active", "expired")


def test_rotation_overlaps_and_an_earlier_end_stays() -> None:
    first, old = made()
    second, new = keys.rotated(first, NOW + 1, 100)
    ring = KeyRing([second])
    assert ring.find(old, NOW + 100) is not None
    assert ring.find(old, NOW + 101) is None
    found = ring.find(new.encode(), NOW + 10_000)
    assert found is not None
    third, newest = keys.rotated(second, NOW + 50, 1_000)
    assert KeyRing([third]).find(old, NOW + 101) is None  # its end does not move
    assert KeyRing([third]).find(new.encode(), NOW + 1_049) is not None
    assert KeyRing([third]).find(new.encode(), NOW + 1_050) is None
    fourth, _ = keys.rotated(third, NOW + 5_000, 0)
    assert len(fourth.secrets) == 2  # those that are over are not kept
    assert KeyRing([fourth]).find(newest.encode(), NOW + 5_000) is None


def test_revoked_by_name_and_by_secret() -> None:
    first, old = made()
    second, new = keys.rotated(first, NOW, 1_000)
    part = keys.revoked(second, second.secrets[0].id, NOW + 5)
    assert KeyRing([part]).find(old, NOW + 5) is None
    assert KeyRing([part]).find(new.encode(), NOW + 5) is not None
    assert part.state(NOW + 5) == "active"
    whole = keys.revoked(part, "web", NOW + 6)
    assert KeyRing([whole]).find(new.encode(), NOW + 6) is None
    assert whole.state(NOW) == "revoked"
    assert keys.revoked(whole, "web", NOW + 9).revoked_ms == NOW + 6
    with pytest.raises(Conflict, match="revoked; create a new one"):
        keys.rotated(whole, NOW, 0)


def test_names() -> None:
    whole, _ = made()
    assert keys.named([whole], "web") is whole
    assert keys.named([whole], whole.secrets[0].id) is whole
    assert keys.named([whole], f"fl_{whole.secrets[0].id}") is whole
    with pytest.raises(NotFound):
        keys.named([whole], "other")
    with pytest.raises(UsageError, match="cannot be used"):
        keys.made(Key("a b", PLAIN.scopes, (), 0), 0)
    with pytest.raises(UsageError, match="may do nothing"):
        keys.made(Key("a", (), (), 0), 0)
