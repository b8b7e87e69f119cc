from __future__ import annotations

import pytest

from fairlead.kit.sentences import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///here/mlflow.db", "sqlite:///here/mlflow.db"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        ("https://bob:hunter2@host:5000/x", "https://***@host:5000/x"),
        ("postgresql://bob:hun/ter2@host/db", "postgresql://***@host/db"),
        ("postgresql://bob:hun@ter2@host/db", "postgresql://***@host/db"),
        (
            "postgresql://host/db?user=bob&password=hunter2&sslmode=on",
            "postgresql://host/db?user=bob&password=***&sslmode=on",
        ),
        ("postgresql://host/db?sslpassword=hunter2", "postgresql://host/db?sslpassword=***"),
        ("http://host/?access_token=hunter2", "http://host/?access_token=***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
