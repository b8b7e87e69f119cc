from __future__ import annotations

import pytest

from fairlead.contracts.access import Scope
from fairlead.contracts.errors import UsageError
from fairlead.kit.scopes import scope


@pytest.mark.parametrize(
    "text", ["churn:predict", "churn:predict:3", "*:metrics", "*:*", "a.b-c_d:explain", "a:*:v1.2"]
)
def test_a_scope_is_read_as_it_is_written(text: str) -> None:
    found = scope(text)
    assert str(found) == text
    assert found == Scope(*text.split(":"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected ENDPOINT:ACTION"),
        ("churn", "expected ENDPOINT:ACTION"),
        (":predict", "expected ENDPOINT:ACTION"),
        ("a b:predict", "expected ENDPOINT:ACTION"),
        ("chu*:predict", "expected ENDPOINT:ACTION"),
        ("churn:", "unknown action ''"),
        ("churn:predikt", "did you mean predict?"),
        ("churn:predict:", "is no version"),
        ("churn:predict:a:b", "is no version"),
        ("*:predict:3", "a version belongs to one endpoint"),
    ],
)
def test_what_is_no_scope(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        scope(text)
    assert says in str(caught.value)
