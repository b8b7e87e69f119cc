"""Workflows: they keep their provider's schema, run our own commands, and put no text of a caller into a script."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fairlead.cli import main as cli
from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import SpecFile, parse
from fairlead.wiring.ci import workflows
from fairlead.wiring.ci.workflows import Asked, chosen, document, jobs, render

SPEC = """endpoints:
  churn:
    model: models:/churn-classifier@champion
    retrain: {pipeline: pipelines/churn.py, on: [drift]}
  file: {model: ./m.onnx}
"""
ASKED = Asked("fairlead.yaml", "churn", "registry.example.com/churn", "", 50.0, 512.0)
SCHEMAS = {"github": ("vendor.github-workflows",), "gitlab": ("vendor.gitlab-ci", "--data-transform", "gitlab-ci")}


def spec(text: str = SPEC) -> SpecFile:
    return parse(text, "fairlead.yaml")


@pytest.mark.parametrize("provider", workflows.PROVIDERS)
def test_it_keeps_the_schema_of_its_provider(provider: str, tmp_path: Path) -> None:
    path = tmp_path / "workflow.yml"
    path.write_text(render(spec(), provider, ASKED))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", *SCHEMAS[provider], str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    path.write_text(path.read_text().replace("timeout", "timeoot"))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("provider", workflows.PROVIDERS)
def test_the_text_says_the_same_as_the_data(provider: str) -> None:
    assert yaml.safe_load(render(spec(), provider, ASKED)) == document(spec(), provider, ASKED)


def test_the_steps_are_data_model_image_infra_and_canary() -> None:
    found = {one.name: one for one in jobs(spec(), ASKED)}
    assert list(found) == ["check-spec", "data-tests", "model-tests", "build-image", "canary"]
    assert found["data-tests"].script == ("fairlead retrain churn --dry-run",)
    assert any("doctor --image" in line and "--memory-mb 512" in line for line in found["build-image"].script)
    assert found["canary"].script == ('fairlead rollout start churn --to "$VERSION"',)
    assert [one.release for one in found.values()] == [False, False, True, True, True]


def test_every_command_in_it_is_one_of_ours() -> None:
    for job in jobs(spec(), ASKED):
        for line in job.script:
            if line.startswith("fairlead "):
                assert line.split()[1] in cli.COMMANDS


def test_an_endpoint_that_is_not_retrained_has_no_data_to_test() -> None:
    found = [
        one.name
        for one in jobs(spec(SPEC.replace("    retrain: {pipeline: pipelines/churn.py, on: [drift]}\n", "")), ASKED)
    ]
    assert found == ["check-spec", "model-tests", "build-image", "canary"]


def test_a_version_reaches_scripts_as_a_variable_only() -> None:
    github = document(spec(), "github", ASKED)
    for job in github["jobs"].values():
        assert not [step for step in job["steps"] if "${{" in step.get("run", "")]
    assert github["permissions"] == {"contents": "read"}
    odd = spec(SPEC.replace("churn-classifier@", "a$(id)@"))
    assert "'models:/a$(id)/'\"$VERSION\"" in jobs(odd, ASKED)[2].script[0]


def test_actions_are_named_by_commit_and_see_no_secret() -> None:
    github = document(spec(), "github", ASKED)
    assert not [name for name in github["env"] if name != "VERSION"]
    for job in github["jobs"].values():
        assert "env" not in job
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
                assert "env" not in step
            seen = set(step.get("env", ()))
            assert ("REGISTRY_PASSWORD" in seen) == ("podman login" in step.get("run", ""))
            assert not seen or "pip install" not in step["run"]
    assert "@11bd71901bbe5b1630ceea73d27597364c9af683  # v4.2.2" in render(spec(), "github", ASKED)


def test_pull_requests_release_nothing_and_those_of_forks_ask_no_store() -> None:
    github = document(spec(), "github", ASKED)["jobs"]
    assert "pull_request" not in github["check-spec"]["if"]
    assert "head.repo.full_name == github.repository" in github["data-tests"]["if"]
    for name in ("model-tests", "build-image", "canary"):
        assert github[name]["if"].startswith("github.event_name == 'workflow_dispatch' && github.ref_name ==")
    gitlab = document(spec(), "gitlab", ASKED)
    for name in ("model-tests", "build-image", "canary"):
        assert "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH" in gitlab[name]["rules"][0]["if"]
    assert gitlab["canary"]["resource_group"] == "production"
    assert len(gitlab["workflow"]["rules"]) == 2  # a branch with a merge request has one pipeline


def test_releases_wait_for_no_push_and_are_cancelled_by_none() -> None:
    found = document(spec(), "github", ASKED)["concurrency"]
    assert "${{ inputs.version }}" in found["group"]
    assert "${{ github.event_name }}" in found["group"]
    assert found["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


def test_a_spec_by_another_name_is_named_where_it_is_read() -> None:
    found = {one.name: one.script[0] for one in jobs(spec(), replace(ASKED, spec="deploy/a b.yaml"))}
    assert found["check-spec"] == "fairlead up 'deploy/a b.yaml' --check"
    assert found["data-tests"].endswith("--dry-run --spec 'deploy/a b.yaml'")
    assert found["canary"].endswith("--spec 'deploy/a b.yaml'")


def test_the_endpoint_is_the_only_one_that_can_be_released_or_named() -> None:
    assert chosen(spec(), "") == "churn"
    with pytest.raises(UsageError, match="did you mean churn"):
        chosen(spec(), "chrun")
    with pytest.raises(UsageError, match=r"fairlead\.yaml:5: endpoints\.file\.model is no registered model"):
        chosen(spec(), "file")
    with pytest.raises(UsageError, match="has churn, fraud"):
        chosen(spec(SPEC + "  fraud: {model: models:/fraud@champion}\n"), "")
    with pytest.raises(UsageError, match="has none"):
        chosen(spec("endpoints: {file: {model: ./m.onnx}}"), "")


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(UsageError, match="github or gitlab"):
        render(spec(), "jenkins", ASKED)
    with pytest.raises(UsageError, match="--image"):
        jobs(spec(), replace(ASKED, image="registry.example.com/churn:4"))
    for name, whole in (("acme/churn", "docker.io/acme/churn"), ("churn.v2", "docker.io/USER/churn.v2")):
        with pytest.raises(UsageError, match=f"--image {name} names no registry .* or {whole}$"):
            jobs(spec(), replace(ASKED, image=name))
    with pytest.raises(UsageError, match="--base"):
        jobs(spec(), replace(ASKED, base="python:latest"))
    assert "--base python:3.11" in jobs(spec(), replace(ASKED, base="python:3.11"))[3].script[0]


@pytest.mark.parametrize("registry", ["registry.example.com", "localhost", "build:5000"])
def test_the_registry_of_the_image_is_logged_in_to(registry: str) -> None:
    lines = jobs(spec(), replace(ASKED, image=f"{registry}/team/churn"))[3].script
    assert [line.split()[-1] for line in lines if "podman login" in line] == [registry]


def test_pushes_to_the_branch_that_releases_run_from_are_tested_whatever_its_name_is() -> None:
    github = document(spec(), "github", ASKED)
    assert github["on"]["push"] == {"branches": ["**"]}  # branches alone: no tags
    default = "github.ref_name == github.event.repository.default_branch"
    tested = f"github.event_name != 'push' || {default}"
    assert github["jobs"]["check-spec"]["if"] == tested
    assert github["jobs"]["data-tests"]["if"].startswith(f"({tested}) && (")
    for name in ("model-tests", "build-image", "canary"):
        assert github["jobs"][name]["if"].endswith(f" && {default}")
