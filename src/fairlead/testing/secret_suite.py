"""What every source of secrets must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", secret_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_source(check):
        check(MySource(), put)

``put(value)`` makes ``value`` the secret (bytes as they are) and gives the name to read it by; None: there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.secrets import SecretSource

Put = Callable[[str | None], str]


def what_was_put_is_read(source: SecretSource, put: Put) -> None:
    for value in ("hunter2", "a b", "ü=&@/:%", "x" * 10_000):
        _expect(source.read(put(value)) == value, "the same text")


def one_that_is_not_there_is_named(source: SecretSource, put: Put) -> None:
    _refused(source, put(None))


def an_empty_one_is_none(source: SecretSource, put: Put) -> None:
    _refused(source, put(""))


def the_stamp_stays_while_the_secret_does(source: SecretSource, put: Put) -> None:
    name = put("hunter2")
    _expect(source.stamp(name) == source.stamp(name), "the same stamp")


def the_stamp_never_raises(source: SecretSource, put: Put) -> None:
    source.stamp(put(None))


CHECKS: Final = (
    what_was_put_is_read,
    one_that_is_not_there_is_named,
    an_empty_one_is_none,
    the_stamp_stays_while_the_secret_does,
    the_stamp_never_raises,
)


def _refused(source: SecretSource, name: str) -> None:
    try:
        source.read(name)
    except UsageError as error:
        _expect(name in str(error), "an error that names it")
    else:
        raise AssertionError("UsageError")


def _expect(held: bool, what: str) -> None:
    if not held:
        raise AssertionError(f"expected {what}")
