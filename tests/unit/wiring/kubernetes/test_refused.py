"""What a cluster cannot honour: one sentence with the field, its line and what to do."""

# ruff: noqa: E501 - tables of specs and sentences, a line each
from __future__ import annotations

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import parse
from fairlead.wiring.kubernetes import kserve, objects
from fairlead.wiring.kubernetes.asked import Rendering, canaries, exact
from kubernetes_cases import HERE, spec

HEAD = """tracking: http://mlflow:5000
record: false
access: {required: true}
deploy: {image: "registry.example.com/a:4"}
state: postgresql://db/f
"""
CHURN = "endpoints:\n  churn:\n    model: models:/churn@champion\n"
CHAT = "endpoints:\n  chat:\n    llm: {engine: vllm, model: a/b%s}\n"
EDGE = """tracking: http://mlflow:5000
record: false
access: {required: true}
deploy: {image: "a:4", host: m.example.com, namespace: shop, gateway: {name: public}}
state: postgresql://db/f
"""


def refused(text: str, **how: object) -> str:
    with pytest.raises(UsageError) as caught:
        objects.render(parse(text, "f.yaml"), Rendering(**how))  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(
    ("more", "how", "said"),
    [
        ("    replicas: {min: 0, max: 4}\n", {}, "f.yaml:9: endpoints.churn.replicas has none while nobody calls, and a HorizontalPodAutoscaler"),
        ("    replicas: {min: 0, max: 4}\n", {"scaler": "keda"}, "f.yaml:9: endpoints.churn.replicas has none while nobody calls, and the call that wakes"),
        ("    deploy: {gpus: 1}\n", {}, "f.yaml:9: endpoints.churn.deploy.gpus is 1, and the model runs on the CPU"),
        ("    runtime: sklearn\n    deploy: {gpus: 1}\n", {}, "f.yaml:10: endpoints.churn.deploy.gpus is 1, and the runtime sklearn runs on the CPU"),
        ("    runtime: xgboost\n    providers: [cuda]\n", {}, "f.yaml:10: endpoints.churn.providers is cuda, and the runtime xgboost runs on the CPU"),
        ("    providers: [cuda]\n", {}, "f.yaml:9: endpoints.churn.providers is cuda, and no pod has a GPU"),
        ("    deploy: {mig: 1g.10gb}\n", {}, "endpoints.churn.deploy.mig is 1g.10gb, and gpus says how many"),
        ("    deploy: {min: 1, max: 4}\n", {}, "f.yaml:9: endpoints.churn.deploy has 1 to 4 pods, and nothing says how many calls one holds"),
        ("    deploy: {min: 5, max: 4}\n", {}, "has at most 4 pods and at least 5"),
        ("    deploy: {min: 2}\n    replicas: {min: 1, max: 4}\n", {}, "f.yaml:9: endpoints.churn.deploy.min and f.yaml:10: endpoints.churn.replicas.min say the same"),
        ("    deploy: {rate: 50, concurrency: 4}\n", {}, "says a load without seconds"),
        ("    deploy: {rate: 50, concurrency: 4, seconds: 0.4, max: 6}\n", {}, "f.yaml:9: endpoints.churn.deploy.max is 6, and 50 calls a second of 0.4 s need 7 pods"),
        ("    deploy: {concurrency: 6}\n    replicas: {max: 4, target_concurrency: 8}\n", {}, "replicas.target_concurrency is 8, more than the 6 that a pod holds"),
        ("    deploy: {volumes: {models: a}}\n", {}, "has the folder 'models'"),
        ("console: {port: 8082}\n", {}, "f.yaml:9: console.port is a port of its own, and no Service"),
        ("    env: isolated\n", {}, "f.yaml:9: endpoints.churn.env installs libraries"),
        ("    deadline_ms: 7200000\n", {}, "f.yaml:9: endpoints.churn.deadline_ms: a pod ends within an hour"),
        ("    access: {rate: 5/s}\n    replicas: {max: 2}\n", {}, "f.yaml:9: endpoints.churn.access.rate is counted by each pod by itself"),
        ("    rollout: {strategy: shadow}\n", {"mesh": "istio"}, "f.yaml:9: endpoints.churn.rollout.strategy answers calls unseen"),
        ('    rollout: {sticky: "header:user"}\n', {"mesh": "gateway-api"}, "f.yaml:9: endpoints.churn.rollout.sticky is header:user"),
        ("", {"canaries": {"churn": "4"}}, "--canary churn: f.yaml:7: endpoints.churn.rollout of a model by alias"),
        ("    explain: {background: rows.csv}\n", {}, "f.yaml:9: endpoints.churn.explain.background is rows.csv, a file of this machine"),
        ("    record: {salt: hunter2}\n", {}, "f.yaml:9: endpoints.churn.record.salt is a secret, and a ConfigMap is none"),
        ('    monitor: {alerts: {webhook: "http://localhost:1/x"}}\n', {}, "leads to localhost, which in a pod is the pod"),
        ('    monitor: {alerts: {webhook: "http://a.b/x?token=hunter2"}}\n', {}, "webhook has a secret in it"),
    ],
)  # fmt: skip
def test_an_endpoint(more: str, how: dict[str, object], said: str) -> None:
    found = refused(HEAD + CHURN + more, **how)
    assert said in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("old", "new", "how", "said"),
    [
        ("registry.example.com/a:4", "registry.example.com/a:latest", {}, "f.yaml:4: deploy.image is 'registry.example.com/a:latest', which names another image tomorrow"),
        ("registry.example.com/a:4", "registry.example.com:5000/a", {}, "which names another image tomorrow"),
        ('{image: "registry.example.com/a:4"}', "{}", {}, "f.yaml:4: deploy.image says no image, and there is no --image"),
        ("http://mlflow:5000", "sqlite:///a.db", {}, "f.yaml:1: tracking needs a registry, and that of the spec is SQLite"),
        ("tracking: http://mlflow:5000", "project: a", {}, "f.yaml:8: endpoints.churn.model needs a registry"),
        ("http://mlflow:5000", "http://127.0.0.1:5000", {}, "f.yaml:1: tracking leads to 127.0.0.1, which in a pod is the pod"),
        ("http://mlflow:5000", "http://me:hunter2@mlflow:5000", {}, "f.yaml:1: tracking has a secret in it"),
        ("state: postgresql://db/f", "project: a", {}, "f.yaml:1: state is SQLite, which ends with the pod and which no two pods share; give postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead (keys of callers are in it)"),
        ("record: false", "record: true", {}, "events is a folder, which ends with the pod"),
        ("record: false", "record: false\nserver: {host: 127.0.0.1}", {}, "f.yaml:3: server.host is 127.0.0.1, which nobody reaches in a pod"),
        ("record: false", "record: false\nserver: {port: 0}", {}, "f.yaml:3: server.port is 0"),
        ("record: false", "record: false\nserver: {grace: 10}", {}, "f.yaml:3: server.grace is 10 s, and a stream of churn may take 60 s"),
        ("record: false", "record: false\nserver: {chaos: true}", {}, "f.yaml:3: server.chaos is refused"),
        ("record: false", "record: false\nserver: {tls: {cert: /a/b.pem, client_ca: /a/c.pem}}", {}, "server.tls.client_ca asks for certificates"),
        ("record: false", "record: false\nserver: {tls: {cert: b.pem}}", {}, "server.tls.cert is b.pem, a file of this machine"),
        ("record: false", "record: false\nserver: {tls: {cert: /a/b.pem}}", {"mesh": "istio"}, "server.tls: a route speaks HTTP to the pods"),
        ("record: false", "record: false\naudit: {enabled: true}", {}, "f.yaml:3: audit.enabled writes files into the home"),
        ("{required: true}", "{required: false}", {}, "f.yaml:3: access.required is not true, and pods are open"),
        ("{required: true}", "{required: true}", {"insecure": True}, "f.yaml:3: access asks callers who they are, and --insecure"),
        ("{image:", "{gateway: {gateway_class: isto}, image:", {"mesh": "gateway-api"}, "give its name; did you mean istio?"),
        ("{image:", "{gateway: {gateway_class: istio}, image:", {"mesh": "istio"}, "gateway_class is of the Gateway API"),
        ("{image:", "{gateway: {name: a}, image:", {}, "f.yaml:4: deploy.gateway says where calls come in, and no route is rendered"),
        ("{image:", "{gateway: {}, image:", {"mesh": "istio"}, "deploy.gateway needs a Gateway that is there"),
        ("{image:", "{gateway: {name: a, tls_secret: b}, image:", {"mesh": "istio"}, "deploy.gateway.tls_secret is for a Gateway that is made"),
    ],
)  # fmt: skip
def test_the_rest_of_a_spec(old: str, new: str, how: dict[str, object], said: str) -> None:
    assert objects.render(parse(HEAD + CHURN, "f.yaml"), Rendering())  # what is changed is all that is wrong
    assert old in HEAD
    found = refused(HEAD.replace(old, new) + CHURN, **how)
    assert said in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        (
            ", options: {tensor_parallel: 2}",
            "    deploy: {gpus: 1}\n",
            "deploy.gpus is 1, and llm.options.tensor_parallel 2",
        ),
        (", options: {tensor_parallel: 2}", "    deploy: {mig: 1g.10gb}\n", "slices of a GPU do not work together"),
        (", options: {binary: /bin/vllm}", "", "f.yaml:8: endpoints.chat.llm.options.binary is of this machine"),
        (", options: {tensorparallel: 2}", "", "vllm has no option 'tensorparallel'"),
        (", options: {memory_share: 2.0}", "", "`memory_share` above 0"),
        (", options: {arguments: [--port, 1]}", "", "arguments has --port, which the pod sets itself"),
        (', token: "file:/a/b"', "", "vLLM takes its key from the environment"),
        (
            "",
            "    deploy: {min: 0, concurrency: 4}\n",
            "deploy.min is 0, and a server of language models starts in minutes",
        ),
    ],
)
def test_an_engine_in_pods_of_its_own(options: str, more: str, said: str) -> None:
    assert said in refused(HEAD + CHAT % options + more)


def test_engines_that_no_image_has() -> None:
    text = HEAD + "endpoints:\n  chat:\n    llm: {engine: llama-server, model: /models/a.gguf}\n"
    assert "f.yaml:8: endpoints.chat.llm.engine is llama-server, a program that no image of ours has" in refused(text)
    text = HEAD + "endpoints:\n  chat:\n    llm: {engine: embedded, model: /models/a}\n    deploy: {gpus: 1}\n"
    assert "endpoints.chat.deploy.gpus is 1, and the engine runs on the CPU" in refused(text)
    text = HEAD + "endpoints:\n  chat:\n    llm: {engine: embedded, model: ./models/a}\n"
    assert "endpoints.chat.llm.model is ./models/a, a file of this machine, which no pod has" in refused(text)


def test_what_no_route_can_tell_apart() -> None:
    two = CHAT % "" + "  other:\n    llm: {engine: vllm, model: c/d}\n"
    bare = EDGE.replace(" host: m.example.com,", "")
    assert "chat and other are language models in pods of their own" in refused(bare + two, mesh="gateway-api")
    made = objects.objects(parse(EDGE + two, "f.yaml"), Rendering(mesh="gateway-api"))
    hosts = [one["spec"]["hostnames"] for bodies in made.values() for one in bodies if one["kind"] == "HTTPRoute"]
    assert hosts == [["chat.m.example.com"], ["other.m.example.com"]]
    text = (
        EDGE.replace("record: false", "record: false\nserver: {grpc_port: 8081}")
        + CHURN
        + "  two:\n    model: models:/two/1\n"
    )
    assert "f.yaml:3: server.grpc_port: a message names the model" in refused(text, mesh="gateway-api")


def test_two_endpoints_of_one_pod_cannot_both_say_what_it_is() -> None:
    text = (
        HEAD
        + CHURN
        + "    deploy: {cpu: 2}\n    resilience: {fallback: [{endpoint: small}]}\n  small:\n    model: models:/s/1\n    deploy: {cpu: 1}\n"
    )
    assert "churn and small run in one pod, since one calls the other, and both say deploy" in refused(text)


def test_names_that_would_be_one() -> None:
    text = HEAD + CHURN + "  Churn:\n    model: models:/c/1\n"
    assert "f.yaml:9: endpoints.Churn and churn are both churn in Kubernetes" in refused(text)
    assert "has a name that Kubernetes cannot have" in refused(HEAD + CHURN.replace("  churn:", "  " + "a" * 47 + ":"))


def test_budgets_of_several_pods_are_shared_or_refused() -> None:
    text = (
        HEAD
        + "budgets: [{amount: 5 USD}]\nprices: [{model: '*', input: 1, output: 1}]\n"
        + CHAT % ""
        + "  b:\n    model: models:/b/1\n"
    )
    assert "f.yaml:6: budgets hold for each pod by itself" in refused(text)


def test_flags() -> None:
    file = spec("design")
    assert canaries(["churn=4"], file) == {"churn": "4"}
    for wrong, said in (
        ("churn", "--canary is 'churn'"),
        ("x=4", "--canary names the endpoint 'x'"),
        ("churn=a b", "expected ENDPOINT=VERSION"),
    ):
        with pytest.raises(UsageError, match=said):
            canaries([wrong], file)
    for good in ("a:1", "r.example.com:5000/a/b:v1.2", "a@sha256:" + "0" * 64, "a:1@sha256:" + "0" * 64):
        assert exact(good, "--image") == good
    for bad in ("a", "a:latest", "r:5000/a", "a@sha256:0", "", "a b:1"):
        with pytest.raises(UsageError, match="--image is"):
            exact(bad, "--image")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "access:",
            "server: {grpc_port: 8081}\naccess:",
            "kserve.yaml:5: server.grpc_port: a pod of Knative has one port",
        ),
        ("access:", "server: {tls: {cert: /a/b.pem}}\naccess:", "server.tls: KServe's ingress has the certificate"),
        ("namespace: shop,", "namespace: shop, host: a.example.com,", "deploy.host: KServe has hosts"),
        ("    deadline_ms: 30000\n", "    rollout: {}\n", "endpoints.churn.rollout needs the controller"),
        ("gpus: 1", "gpus: 1, nodes: {a: b}", "endpoints.churn.deploy.nodes: Knative chooses nodes"),
        ("    providers: [cuda]\n", "", "endpoints.churn.deploy.gpus is 1, and the model runs on the CPU"),
        (
            "model: models:/fixed/2",
            "llm: {engine: vllm, model: a/b}",
            "endpoints.fixed.llm.engine is vllm, which has pods of its own",
        ),
    ],
)
def test_kserve(old: str, new: str, said: str) -> None:
    text = (HERE / "kserve.yaml").read_text()
    assert old in text
    with pytest.raises(UsageError) as caught:
        kserve.render(parse(text.replace(old, new), "kserve.yaml"), Rendering())
    assert said in str(caught.value)
