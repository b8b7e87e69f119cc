"""The Kubernetes target against a cluster's API over HTTP: refusals, lost lines, races, secrets that stay so."""

from __future__ import annotations

import base64
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.errors import (
    FairleadError,
    ObjectConflict,
    ObjectRejected,
    TargetForbids,
    TargetUnreachable,
    UsageError,
)
from fairlead.contracts.target import Change, State, Target, Where
from fairlead.kit import plugins
from fairlead.testing.cluster import FakeCluster, Refusal
from fairlead.testing.cluster_api import TOKEN, Api, kubeconfig, serving


def deployment(name: str = "churn", image: str = "churn:1", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "server", "image": image, "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def secret(value: str) -> dict[str, Any]:
    data = {"password": base64.b64encode(value.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": data}


def opened(config: Path, pod: Path | None = None, **where: Any) -> Target:
    made = plugins.load("fairlead.targets", "kubernetes")
    return made(Where(config=config, **where), pod) if pod else made(Where(config=config, **where))


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(FakeCluster()) as api:
        yield api


@pytest.fixture
def target(api: Api, tmp_path: Path) -> Iterator[Target]:
    made = opened(kubeconfig(tmp_path / "config", api.url), seconds=5.0)
    yield made
    made.close()


def test_what_the_cluster_adds_is_no_difference(target: Target) -> None:
    target.apply(deployment(), "churn")
    assert target.diff(deployment(), "churn").change is Change.SAME
    found = target.diff(deployment(image="churn:2"), "churn")
    path = "spec.template.spec.containers[server].image"
    assert [(one.path, one.before, one.after) for one in found.fields] == [(path, "churn:1", "churn:2")]


def test_what_the_files_no_longer_say_goes(target: Target) -> None:
    target.apply({**deployment(), "metadata": {"name": "churn", "annotations": {"note": "x"}}}, "churn")
    seen = target.apply(deployment(), "churn")
    assert "annotations" not in seen.body["metadata"]


def test_a_secret_is_never_shown(target: Target) -> None:
    before = target.apply(secret("one-secret"), "churn")
    found = target.diff(secret("other-secret"), "churn")
    assert [(one.path, one.before, one.after) for one in found.fields] == [("data.password", "(secret)", "(secret)")]
    target.apply(secret("other-secret"), "churn")
    assert target.restore(before).body["data"] == secret("one-secret")["data"]


def test_why_a_deployment_does_not_come(api: Api, target: Target) -> None:
    api.cluster.broken = {"churn:2"}
    target.apply(deployment(image="churn:2"), "churn")
    seen = target.observe(target.find(deployment()))
    assert seen is not None
    assert seen.state is State.WAITING
    assert "ImagePullBackOff: Back-off pulling image" in seen.why
    api.cluster.forbidden = {("GET", "pods")}
    seen = target.observe(target.find(deployment()))
    assert seen is not None
    assert seen.why == "0 of 1 replicas are available"
    target.apply(deployment(image="churn:2", progressDeadlineSeconds=0), "churn")
    seen = target.observe(target.find(deployment()))
    assert seen is not None
    assert (seen.state, "timed out progressing" in seen.why) == (State.FAILED, True)


def test_replicas_of_a_scaler_stay_when_the_rest_is_put_back(api: Api, target: Target) -> None:
    before = target.apply(deployment(), "churn")
    target.apply(deployment(image="churn:2"), "churn")
    api.cluster.scale("churn", 7)
    back = target.restore(before)
    assert back.body["spec"]["replicas"] == 7
    assert back.body["spec"]["template"]["spec"]["containers"][0]["image"] == "churn:1"


def test_an_object_that_is_refused_names_the_field(target: Target) -> None:
    target.apply(deployment(), "churn")
    other = deployment()
    other["spec"]["selector"] = {"matchLabels": {"app": "churn", "x": "y"}}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "churn", "x": "y"}
    with pytest.raises(ObjectRejected, match=r"does not take it: spec.selector: field is immutable"):
        target.apply(other, "churn")
    with pytest.raises(ObjectRejected, match=r"no kind 'Deploymen' of apps/v1; did you mean Deployment"):
        target.find({**deployment(), "kind": "Deploymen"})
    with pytest.raises(ObjectRejected, match=r"no kind 'X' of keda.sh/v1alpha1; install what defines it"):
        target.find({**deployment(), "kind": "X", "apiVersion": "keda.sh/v1alpha1"})


def test_what_is_forbidden_names_the_right(api: Api, target: Target) -> None:
    api.cluster.forbidden = {("PATCH", "deployments")}
    with pytest.raises(
        TargetForbids, match=r'User "deployer" cannot patch resource "deployments" .*; give this account'
    ):
        target.apply(deployment(), "churn")
    api.cluster.forbidden = set()

    def full(method: str, *_: str) -> None:
        if method == "PATCH":
            raise Refusal(403, "Forbidden", "exceeded quota: small, requested: pods=1, used: pods=4, limited: pods=4")

    api.cluster.before = full
    with pytest.raises(TargetForbids, match=r"limited: pods=4$"):
        target.apply(deployment(), "churn")


def test_nobody_answers(api: Api, target: Target) -> None:
    api.down = True
    with pytest.raises(TargetUnreachable, match=r"cluster http://127.0.0.1:\d+ \(context test\) does not answer"):
        target.observe(target.find(deployment()))


def test_an_answer_that_is_lost_changes_nothing_twice(api: Api, target: Target) -> None:
    target.find(deployment())
    api.lost = 2
    seen = target.apply(deployment(), "churn")
    assert api.cluster.asked.count(("PATCH", "deployments", "churn")) == 3
    assert seen.revision == api.cluster.get("deployments", "churn")["metadata"]["resourceVersion"]


def test_a_shift_whose_answer_is_lost_is_a_conflict_when_it_is_tried_again(api: Api, target: Target) -> None:
    backends = [{"name": "churn-stable", "port": 80, "weight": 100}, {"name": "churn-canary", "port": 80, "weight": 0}]
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "churn", "labels": {"fairlead.dev/endpoint": "churn"}},
        "spec": {"rules": [{"backendRefs": backends}]},
    }
    target.apply(route, "churn")
    found = target.route("churn")
    assert found is not None
    api.lost = 1
    with pytest.raises(TargetUnreachable):
        target.shift(found, {"champion": 95, "candidate": 5}, 1)
    with pytest.raises(ObjectConflict):
        target.shift(found, {"champion": 95, "candidate": 5}, 1)
    again = target.route("churn")
    assert again is not None
    assert dict(again.weights) == {"champion": 95, "candidate": 5}


def test_a_token_that_changed_is_read_again(api: Api, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    target = opened(kubeconfig(tmp_path / "config", api.url, tokenFile="token"))
    assert target.note("x").text == ""
    api.token = "another-token"
    with pytest.raises(TargetForbids, match="does not know who we are; log in again"):
        target.note("x")
    (tmp_path / "token").write_text("another-token")
    assert target.note("x").text == ""
    target.close()


def plugin(path: Path, answer: str, code: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\necho x >> {path}.asked\nprintf '%s' '{answer}'\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_program_gives_the_token(api: Api, tmp_path: Path) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": TOKEN}}
    plugin(tmp_path / "login", json.dumps(answer))
    how = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login", "interactiveMode": "Never"}
    target = opened(kubeconfig(tmp_path / "config", api.url, exec=how))
    assert target.note("x").text == target.note("y").text == ""
    assert (tmp_path / "login.asked").read_text() == "x\n"
    target.close()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [("a-secret-of-it", 3, "exit code 3; run it once by hand"), ("a-secret-of-it", 0, "gave no ExecCredential")],
)
def test_a_program_that_fails_is_not_repeated(api: Api, tmp_path: Path, answer: str, code: int, said: str) -> None:
    plugin(tmp_path / "login", answer, code)
    how = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login"}
    target = opened(kubeconfig(tmp_path / "config", api.url, exec=how))
    with pytest.raises(TargetForbids, match=said) as caught:
        target.note("x")
    assert "a-secret" not in str(caught.value)


def test_a_pod_reaches_its_cluster(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as its own files: the server of this test speaks no TLS."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text("ml")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", api.url.rpartition(":")[2])
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    target = plugins.load("fairlead.targets", "kubernetes")(Where(seconds=2.0, tries=1), tmp_path)
    with pytest.raises(TargetUnreachable, match=r"https://127.0.0.1:\d+ \(context in-cluster\)"):
        target.note("x")
    target.close()


TLS = {"server": "https://x"}


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("cluster", {"insecure-skip-tls-verify": True}, "is not honoured; name the cluster's certificate-authority"),
        ("user", {"auth-provider": {"name": "gcp"}}, "auth-provider is not honoured; Kubernetes has dropped it"),
        ("user", {"as": "root"}, "as is not honoured"),
        ("cluster", {"server": "http://10.1.2.3"}, "would get credentials unencrypted; use https"),
        ("cluster", {"server": "10.1.2.3"}, "server is '10.1.2.3'; expected https"),
        ("context", {"cluster": "d"}, "cluster 'd' is not in it; there are: c"),
        ("cluster", {**TLS, "certificate-authority-data": "bm8="}, "is not PEM"),
        ("cluster", {**TLS, "certificate-authority-data": "%"}, "certificate-authority-data is not base64"),
        ("cluster", {**TLS, "certificate-authority": "no.pem"}, "no.pem: No such file"),
        ("user", {"client-key-data": "bm8="}, "client-certificate and client-key need each other"),
        ("user", {"token": "", "exec": {"command": "x"}}, "exec: apiVersion is None; expected client.auth"),
    ],
)
def test_a_kubeconfig_that_cannot_be_honoured(
    api: Api, tmp_path: Path, part: str, change: dict[str, Any], said: str
) -> None:
    path = kubeconfig(tmp_path / "config", "https://x" if "client-key-data" in change else api.url)
    document = json.loads(path.read_text())
    document[f"{part}s"][0][part] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError) as caught:
        opened(path)
    assert said in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_context_that_is_not_there(api: Api, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no context 'other'; there are: test; use --context"):
        opened(kubeconfig(tmp_path / "config", api.url), context="other")


def test_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cluster is configured"):
        opened(tmp_path / "none")
    (tmp_path / "broken").write_text(f"token: '{TOKEN}")
    with pytest.raises(UsageError, match="cannot be read as YAML") as caught:
        opened(tmp_path / "broken")
    assert TOKEN not in str(caught.value)


def test_the_token_is_in_no_log_and_no_error(api: Api, target: Target, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []

    target.apply(deployment(), "churn")
    for change in ({"down": True}, {"down": False, "token": "other"}):
        for field, value in change.items():
            setattr(api, field, value)
        with pytest.raises(FairleadError) as caught:
            target.apply(deployment(image="churn:2"), "churn")
        said += [str(caught.value), repr(caught.value), repr(target.__dict__)]
    said += [record.getMessage() + repr(record.__dict__) for record in caplog.records]
    assert not [one for one in said if TOKEN in one]


def theirs(api: Api, body: dict[str, Any], manager: str) -> None:
    path = f"/apis/apps/v1/namespaces/ml/deployments/{body['metadata']['name']}"
    api.cluster.request("PATCH", path, {"fieldManager": manager, "force": "true"}, body, "application/apply-patch+yaml")


def test_a_field_that_somebody_else_set_is_named_and_ours_is_not(api: Api, target: Target) -> None:
    target.apply(deployment(), "churn")
    theirs(api, deployment(image="churn:fixed"), "kubectl-edit")
    found = target.diff(deployment(image="churn:2"), "churn")
    assert dict(found.taken) == {'spec.template.spec.containers[name="server"].image': "kubectl-edit"}
    assert [(one.before, one.after) for one in found.fields] == [("churn:fixed", "churn:2")]
    target.apply(deployment(image="churn:2"), "churn")  # whoever plans has decided
    assert dict(target.diff(deployment(image="churn:3"), "churn").taken) == {}


def test_replicas_that_a_scaler_chose_are_not_overruled_in_silence(api: Api, target: Target) -> None:
    target.apply(deployment(replicas=2), "churn")
    api.cluster.scale("churn", 7)
    found = target.diff(deployment(replicas=2), "churn")
    assert dict(found.taken) == {"spec.replicas": "kube-controller-manager"}


def test_shares_that_the_controller_wrote_are_no_conflict(target: Target) -> None:
    backends = [{"name": "r-stable", "port": 80, "weight": 100}, {"name": "r-canary", "port": 80, "weight": 0}]
    body = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "labels": {"fairlead.dev/endpoint": "r"}},
        "spec": {"rules": [{"backendRefs": backends, "timeouts": {"request": "1s"}}]},
    }
    target.apply(body, "churn")
    route = target.route("r")
    assert route is not None
    target.shift(route, {"champion": 75, "candidate": 25}, 1)
    body["spec"] = {"rules": [{"backendRefs": backends, "timeouts": {"request": "2s"}}]}
    found = target.diff(body, "churn")
    assert (dict(found.taken), found.change) == ({}, Change.UPDATE)


def test_a_namespace_that_is_not_there_is_told(target: Target) -> None:
    body = {**deployment(), "metadata": {"name": "churn", "namespace": "nowhere"}}
    assert target.diff(body, "churn").awaits == "nowhere"


def refusing(api: Api, code: int, message: str, times: int, **details: Any) -> None:
    """The next so many writes are refused."""
    left = [None] * times

    def before(method: str, plural: str, name: str) -> None:
        if method != "GET" and left:
            left.pop()
            raise Refusal(code, "Refused", message, **details)

    api.cluster.before = before


@pytest.mark.parametrize("code", [429, 500, 503, 504])
def test_a_cluster_that_is_busy_is_asked_again(api: Api, target: Target, code: int) -> None:
    refusing(api, code, "too many requests", 2)
    assert target.apply(deployment(), "churn").owner == "churn"
    refusing(api, code, "too many requests", 9)
    with pytest.raises(TargetUnreachable, match="cannot answer now: too many requests"):
        target.apply(deployment(image="churn:2"), "churn")


def test_a_secret_that_is_refused_does_not_tell_what_is_in_it(api: Api, target: Target) -> None:
    """As an API server answers to a number where it wants text."""
    body = {**secret("x"), "data": {}, "stringData": {"password": 73512987}}
    refusing(api, 400, ".stringData.password: expected string, got &value.valueUnstructured{Value:73512987}", 1)
    with pytest.raises(ObjectRejected, match=r"stringData.password: expected string") as caught:
        target.apply(body, "churn")
    assert "73512987" not in str(caught.value)


def test_what_kubectl_keeps_in_an_annotation_of_a_secret_is_not_shown(target: Target) -> None:
    target.apply(secret("one-secret"), "churn")
    name = "kubectl.kubernetes.io/last-applied-configuration"
    body = secret("one-secret")
    body["metadata"]["annotations"] = {name: json.dumps(body)}
    found = target.diff(body, "churn")
    assert [one.after for one in found.fields] == ["(secret)"]


def test_what_is_removed_is_asked_again_when_the_answer_is_lost(api: Api, target: Target) -> None:
    seen = target.apply(deployment(), "churn")
    api.lost = 1
    target.remove(seen)
    assert api.cluster.get("deployments", "churn") is None


def test_a_token_that_the_cluster_repeats_is_hidden_even_when_there_is_a_newer_one(api: Api, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    target = opened(kubeconfig(tmp_path / "config", api.url, tokenFile="token"))
    target.find(deployment())

    def before(method: str, plural: str, name: str) -> None:
        (tmp_path / "token").write_text("another-token")
        raise Refusal(403, "Forbidden", f"{TOKEN} is not allowed to")

    api.cluster.before = before
    with pytest.raises(TargetForbids) as caught:
        target.apply(deployment(), "churn")
    assert TOKEN not in str(caught.value)
    target.close()
