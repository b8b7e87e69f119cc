"""Processes beside a server, with real ones."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from fairlead.cli import companions
from fairlead.cli.companions import Command, Companions
from fairlead.kit.clock import SystemClock

STAYS = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAYS
DIES = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); sys.exit(3)"


def python(code: str, path: Path) -> Command:
    return Command("child", [sys.executable, "-c", code, str(path)])


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def run(work) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr(logging.getLogger("fairlead"), "propagate", True)
    caplog.set_level(logging.INFO, "fairlead.cli")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "fairlead.cli"]


def test_it_is_started_and_ended(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    async def work() -> None:
        company = Companions([python(STAYS, tmp_path / "a"), python(STAYS, tmp_path / "b")], SystemClock())
        company.start()
        await until(lambda: pids(tmp_path / "a") and pids(tmp_path / "b"))
        assert os.getpgid(pids(tmp_path / "a")[0]) != os.getpgid(0), "Ctrl-C is not for it"
        await company.stop()
        assert not [pid for name in "ab" for pid in pids(tmp_path / name) if alive(pid)]

    run(work())
    assert told() == ["companion started"] * 2 + ["companion stopped"] * 2


def test_one_that_does_not_listen_is_killed(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    async def work() -> None:
        company = Companions([python(DEAF, tmp_path / "a")], SystemClock(), grace=0.2)
        company.start()
        await until(lambda: pids(tmp_path / "a"))
        await company.stop()
        assert not alive(pids(tmp_path / "a")[0])

    run(work())
    assert told() == ["companion started", "killed", "companion stopped"]


def test_one_that_dies_is_started_again_and_later_each_time(
    tmp_path: Path, told: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        company = Companions([python(DIES, tmp_path / "a")], SystemClock())
        company.start()
        await until(lambda: told().count("companion ended") == 3)
        await company.stop()
        assert len(pids(tmp_path / "a")) == 3

    run(work())
    ends = [record.fields for record in caplog.records if record.getMessage() == "companion ended"]  # type: ignore[attr-defined]
    assert [(one["how"], one["again_in"]) for one in ends] == [
        ("exit code 3", 0.0),
        ("exit code 3", 0.5),
        ("exit code 3", 1.0),
    ]


def test_one_that_cannot_be_started_is_told(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    async def work() -> None:
        company = Companions([Command("none", [str(tmp_path / "none")])], SystemClock())
        company.start()
        await until(lambda: "companion ended" in told())
        await company.stop()

    run(work())
    assert "companion started" not in told()


def test_stopped_at_any_time_nothing_is_left(tmp_path: Path) -> None:
    async def work() -> None:
        for turns in range(12):
            company = Companions([python(STAYS, tmp_path / "a")], SystemClock())
            company.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            await company.stop()
        assert not [pid for pid in pids(tmp_path / "a") if alive(pid)]

    run(work())


def test_it_learns_of_the_end_of_its_parent(tmp_path: Path) -> None:
    """Its standard input ends when the parent is killed."""
    code = "import sys; open(sys.argv[1], 'w').write('here'); sys.stdin.read(); open(sys.argv[1], 'w').write('end')"
    parent = (
        "import asyncio, json, os, signal, sys\n"
        "from fairlead.cli.companions import Command, Companions\n"
        "from fairlead.kit.clock import SystemClock\n"
        "from pathlib import Path\n"
        "async def work():\n"
        "    Companions([Command('child', json.loads(sys.argv[1]))], SystemClock()).start()\n"
        "    while not (Path(sys.argv[2]).exists() and Path(sys.argv[2]).read_text()):\n"
        "        await asyncio.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(work())\n"
    )
    path = tmp_path / "said"
    words = json.dumps([sys.executable, "-c", code, str(path)])

    async def work() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, words, str(path))
        assert await process.wait() == -9
        await until(lambda: path.read_text() == "end")

    run(work())


def test_a_command_of_ours() -> None:
    made = companions.fairlead("status", "--json")
    assert (made.name, made.words) == ("status", [sys.executable, "-P", "-m", "fairlead", "status", "--json"])
