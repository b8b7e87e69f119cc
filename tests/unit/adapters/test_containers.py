"""The words that tools are given, and what is read of what they say, with programs that are scripts."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fairlead.adapters.containers.calling import in_bytes, last_words
from fairlead.adapters.containers.tools import Buildah, Docker, Podman
from fairlead.contracts.containers import Build, Launch
from fairlead.contracts.errors import ContainerFailed, SourceNotFound

IMAGE = [
    {
        "Id": "sha256:abc",
        "RootFS": {"Layers": ["sha256:1"]},
        "Config": {"Labels": {"a": "b"}, "Env": ["A=b=c"], "Cmd": ["serve"], "User": "10001:10001"},
        "RepoDigests": ["docker.io/library/python@sha256:def"],
        "Size": 12,
    }
]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a script on the PATH, alone: ``says`` is what it prints to a command that begins so, else it fails."""

    def install(name: str, **says: str) -> Path:
        log = tmp_path / "log"
        lines = ["#!/bin/sh", f'echo "$*" >> {log}', 'case "$*" in']
        for number, (begins, text) in enumerate(says.items()):
            (tmp_path / f"{number}.out").write_text(text)
            lines.append(f'"{begins.replace("_", " ")}"*) /bin/cat {tmp_path}/{number}.out; exit 0;;')
        lines += ["esac", 'echo "first" >&2', 'echo "Error: no such thing" >&2', "exit 125"]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return log

    return install


def test_a_tool_that_is_not_here_or_does_not_work_says_why(program: Any) -> None:
    program("other")
    assert Podman().usable() == "podman is not on the PATH"
    program("docker")
    assert Docker().usable() == "docker does not work here: first | Error: no such thing"
    program("podman", info="")
    assert Podman().usable() == ""
    assert (Podman().runs, Docker().runs, Buildah().runs) == (True, True, False)


def test_a_tool_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec /bin/sleep 30\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("fairlead.adapters.containers.tools._PATIENCE", 1.0)
    assert Docker().usable() == "docker info did not answer in 1 seconds; is what it speaks to stuck?"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_build_is_hermetic_and_has_one_time(program: Any, tmp_path: Path) -> None:
    log = program("podman", build="", image_inspect=json.dumps(IMAGE))
    made = Podman().build(Build(tmp_path, "churn:4", 7, {"BASE": "x"}, fresh=True))
    assert (made.id, made.layers, made.labels, made.environment) == ("abc", ("sha256:1",), {"a": "b"}, {"A": "b=c"})
    assert (made.command, made.user, made.size) == (("serve",), "10001:10001", 12)
    first = log.read_text().splitlines()[0].split()
    assert first[:5] == ["build", "--quiet", "--format=docker", "--timestamp", "7"]
    assert {"--network=none", "--no-cache", "BASE=x", "churn:4"} <= set(first)
    log = program("docker", build="", image_inspect=json.dumps(IMAGE))
    Docker().build(Build(tmp_path, "churn:4", 7))
    assert "SOURCE_DATE_EPOCH=7" in log.read_text()


@pytest.mark.parametrize("tool", [Podman, Docker, Buildah])
def test_another_machine_is_named_when_a_base_is_fetched_and_in_the_build(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: type[Podman]
) -> None:
    monkeypatch.setattr("fairlead.adapters.containers.tools.PLATFORM", "linux/amd64")
    made = {"config": {}, "rootfs": {}, "os": "linux", "architecture": "amd64"}
    here = json.dumps([{**IMAGE[0], "Os": "linux", "Architecture": "amd64"}])
    log = program(
        tool.__name__.lower(),
        build="", pull="", image_inspect=here,
        inspect=json.dumps({"FromImageID": "abc", "FromImageDigest": "sha256:def", "Docker": made}),
    )  # fmt: skip
    assert tool().image("python:3.11").platform == "linux/amd64"
    assert tool().digest("python:3.11", "linux/arm64") == "sha256:def"
    tool().build(Build(tmp_path, "churn:4", 7, platform="linux/arm64"))
    pulled, built = (line for line in log.read_text().splitlines() if line.startswith(("pull", "build")))
    assert pulled == "pull --quiet --platform linux/arm64 python:3.11"
    assert "--platform linux/arm64" in built
    log.unlink()
    tool().digest("python:3.11", "linux/amd64")
    tool().build(Build(tmp_path, "churn:4", 7, platform="linux/amd64"))
    said = log.read_text()
    assert ("--platform linux/amd64" in said) == (tool is Docker)  # the others would ask a registry for a base of here
    assert ("pull" in said) == (tool is Buildah)


def test_a_container_is_hardened_and_published_on_this_machine_only(program: Any) -> None:
    log = program("podman", run="warning\nabc123\n", port="127.0.0.1:40001\n")
    launch = Launch("churn:4", 8080, 1024, "", {"A": "1", "B": ""}, ("/x:/x:ro",), ("serve",))
    assert Podman().start(launch) == "abc123"
    words = log.read_text().split()
    assert {"--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "127.0.0.1::8080"} <= set(words)
    assert words[words.index("--memory") + 1] == "1024"
    assert [words[place + 1] for place, one in enumerate(words) if one == "--env"] == ["A=1", "B"]
    assert words[-2:] == ["churn:4", "serve"]
    assert Podman().port("abc123", 8080) == 40001
    log = program("podman", run="abc\n")
    Podman().start(Launch("churn:4", 8080, network="host"))
    assert "--publish" not in log.read_text().splitlines()[-1]
    with pytest.raises(ContainerFailed, match="podman publishes no port 8080 of abc; has it ended"):
        Podman().port("abc", 8080)  # docker ends with 1
    program("podman", port="")
    with pytest.raises(ContainerFailed, match="publishes no port"):
        Podman().port("abc", 8080)  # podman says nothing


def test_what_is_not_there_and_what_fails_are_told_apart(program: Any, tmp_path: Path) -> None:
    program("podman")
    with pytest.raises(SourceNotFound, match="podman pull churn:4"):
        Podman().image("churn:4")
    with pytest.raises(ContainerFailed, match="125 building churn:4: first | Error"):
        Podman().build(Build(tmp_path, "churn:4", 7))
    with pytest.raises(ContainerFailed, match="fetching python"):
        Podman().digest("python:3.11")
    program("podman", image_inspect="no json")
    with pytest.raises(ContainerFailed, match="no JSON"):
        Podman().image("churn:4")
    program("podman", image_inspect=json.dumps([{**IMAGE[0], "RepoDigests": []}]))
    with pytest.raises(ContainerFailed, match="knows no digest"):
        Podman().digest("python:3.11")
    program("podman", image_inspect=json.dumps(IMAGE))
    assert Podman().digest("python:3.11") == "sha256:def"


def test_buildah_looks_at_images_its_own_way(program: Any, tmp_path: Path) -> None:
    said = {
        "FromImageID": "abc",
        "FromImageDigest": "sha256:def",
        "Docker": {"config": {"User": "1"}, "rootfs": {"diff_ids": ["sha256:1"]}},
    }
    log = program("buildah", inspect=json.dumps(said), build="", pull="")
    assert Buildah().build(Build(tmp_path, "churn:4", 7)).layers == ("sha256:1",)
    assert "--force-rm" in log.read_text()  # also what a step that failed left: podman does so by itself
    assert Buildah().digest("python:3.11") == "sha256:def"
    program("buildah", inspect=json.dumps({**said, "FromImageDigest": ""}), pull="")
    with pytest.raises(ContainerFailed, match="knows no digest"):
        Buildah().digest("python:3.11")
    program("buildah")
    with pytest.raises(SourceNotFound, match="buildah pull"):
        Buildah().image("churn:4")


def test_state_logs_and_the_end(program: Any) -> None:
    state = json.dumps([{"State": {"Running": True, "ExitCode": 0}}])
    program("podman", container_inspect=state, stats="12.5MiB / 1GiB\n", logs="a\nb\n", stop="", rm="", exec="out")
    assert Podman().state("x").memory == int(12.5 * 2**20)
    assert Podman().logs("x") == "a\nb"
    assert Podman().stop("x", 3) == 0
    assert Podman().run("x", ["fairlead"]) == "out"
    Podman().remove("x")
    program("podman", container_inspect=json.dumps([{"State": {"Running": False, "ExitCode": 137}}]))
    assert (Podman().state("x").running, Podman().state("x").exit_code) == (False, 137)


@pytest.mark.parametrize(
    ("text", "size"), [("1.5kB", 1500), ("2MiB / 3", 2 * 2**20), ("1GB", 10**9), ("7B", 7), ("--", 0), ("", 0)]
)
def test_sizes_are_read_as_tools_write_them(text: str, size: int) -> None:
    assert in_bytes(text) == size


def test_last_words_are_short_and_hide_passwords() -> None:
    assert last_words("") == "nothing"
    assert "hunter2" not in last_words("pull https://me:hunter2@registry.example.com/x")
    assert len(last_words("x" * 5000)) < 400


def test_a_container_is_named_and_labelled_before_it_is_there(program: Any) -> None:
    inspected = json.dumps([{"Config": {"Labels": {"of": "me", "more": "x"}}}])
    log = program("podman", run="abc", ps="abc\ndef", container_inspect=inspected)
    Podman().start(Launch("churn:4", 8080, name="mine", labels={"of": "me"}))
    assert "--name mine --label of=me" in log.read_text()
    assert Podman().labelled("of") == {"abc": "me", "def": "me"}
    assert "ps --all --quiet --no-trunc --filter label=of" in log.read_text()


@pytest.mark.parametrize(
    ("hears", "seconds"), [("trap 'echo cleared >> {log}; exit 1' TERM", 5.0), ("trap '' TERM", 0.2)]
)
def test_a_command_that_is_interrupted_is_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hears: str, seconds: float
) -> None:
    log = tmp_path / "log"
    script = f"#!/bin/sh\n{hears.format(log=log)}\necho $$ > {log}\nwhile :; do sleep 0.05; done\n"
    (tmp_path / "podman").write_text(script)
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("fairlead.adapters.containers.calling._GRACE", seconds)
    _interrupted_build(tmp_path)
    words = log.read_text().split()
    assert words[1:] == (["cleared"] if "cleared" in hears else [])
    with pytest.raises(ProcessLookupError):
        os.kill(int(words[0]), 0)


@pytest.mark.parametrize("again", ["", 'if [ -z "$AGAIN" ]; then export AGAIN=1; "$0" "$@"; exit $?; fi\n'])
def test_a_build_that_is_interrupted_ends_by_its_step_and_clears_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """As podman and buildah do: when a step fails they remove their working containers, when they are ended they do
    not. Where they are not root, they start themselves ``again``."""
    log, step = tmp_path / "log", tmp_path / "step"
    step.write_text("#!/bin/sh\nwhile :; do /bin/sleep 0.05; done\n")
    script = f"#!/bin/sh\n{again}trap 'echo left >> {log}; exit 143' TERM\n{step}\necho cleared >> {log}\nexit 1\n"
    (tmp_path / "podman").write_text(script)
    for path in (step, tmp_path / "podman"):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    _interrupted_build(tmp_path)
    assert log.read_text().split() == ["cleared"]


def test_what_was_tried_again_is_no_last_word_where_there_is_another() -> None:
    again = 'time="2026-11-30" level=warning msg="Failed, retrying in 1s ... (1/3). Error: no route"'
    assert last_words(f"{again}\n{again}\nError: connection refused\n") == "Error: connection refused"
    assert last_words(again) == again


def test_a_docker_without_its_daemon_says_what_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho 'Server:'\necho '{said}' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    remedy = "start the daemon (systemctl start docker), or use podman, which needs none"
    assert Docker().usable() == f"docker does not work here: {said}; {remedy}"


def _interrupted_build(folder: Path) -> None:
    """Ctrl-C half a second after it began."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            Podman().build(Build(folder, "churn:4", 7))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
