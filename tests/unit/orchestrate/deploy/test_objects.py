"""Files of objects: what is read, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.orchestrate.deploy import objects

ONE = "apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"


def test_a_folder_is_read_in_the_order_to_make_things_in(tmp_path: Path) -> None:
    kinds = ["HTTPRoute", "Deployment", "Service", "ConfigMap", "Namespace", "ServiceAccount"]
    (tmp_path / "all.yaml").write_text("---\n".join(ONE.format(kind=kind, name="x") for kind in kinds))
    (tmp_path / "more.json").write_text('{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}')
    (tmp_path / "README.md").write_text("no object")
    found = [one["kind"] for one in objects.read([tmp_path])]
    assert found == ["Namespace", "ServiceAccount", "Secret", "ConfigMap", "Service", "Deployment", "HTTPRoute"]


def test_a_list_is_its_items(tmp_path: Path) -> None:
    items = '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "%s"}}'
    path = tmp_path / "list.json"
    path.write_text('{"apiVersion": "v1", "kind": "List", "items": [' + items % "a" + ", " + items % "b" + "]}")
    assert [one["metadata"]["name"] for one in objects.read([path])] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "one.yaml:1: not YAML"),
        ("just words", "one.yaml, document 1: no object"),
        ("kind: X\nmetadata: {name: a}", "one.yaml, document 1: apiVersion is None"),
        ("apiVersion: v1\nkind: X\nmetadata: {generateName: a-}", "one.yaml, document 1: metadata.name is None"),
        ("apiVersion: v1\nkind: 3\nmetadata: {name: a}", "one.yaml, document 1: kind is 3"),
        (ONE.format(kind="X", name="a") + "---\n" + ONE.format(kind="X", name="a"), "X/a is in .*document 1 already"),
        ("", "no objects in"),
        (
            ONE.format(kind="X", name="a") + "data: {a: !!binary aGk=}",
            "document 1: .*bytes is not JSON serializable; say",
        ),
        (ONE.format(kind="X", name="a") + "data: {a: .inf}", "document 1: .*not JSON compliant.*; say it as text"),
        ("!!python/object/apply:os.system [true]", "not YAML"),
        ("version: 1\nendpoints: {churn: {model: models:/churn@champion}}", "a spec of Fairlead; .*fairlead render"),
    ],
)
def test_what_is_no_object_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        objects.read([path])


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        objects.read([tmp_path / "k8s"])


def test_a_date_is_text(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(ONE.format(kind="X", name="a") + "data: {since: 2024-01-01}")
    assert objects.read([path])[0]["data"] == {"since": "2024-01-01"}
