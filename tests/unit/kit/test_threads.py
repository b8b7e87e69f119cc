"""A pool of threads that nobody has to wait for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from fairlead.kit.threads import Threads, apart

ENDLESS = """
import threading
from fairlead.kit.threads import Threads, apart

begun = threading.Event()
threads = Threads(1, "endless")
threads.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
threads.close()
"""


def test_tasks_run_in_as_many_threads_as_are_needed() -> None:
    threads, names, together, done = Threads(2, "t"), list[str](), threading.Barrier(2), threading.Semaphore(0)

    def task() -> None:
        names.append(threading.current_thread().name)
        together.wait(10)
        done.release()

    for _ in range(4):
        threads.submit(task)
    assert all(done.acquire(timeout=10) for _ in range(4))
    assert sorted(names) == ["t_0", "t_0", "t_1", "t_1"]
    threads.close()


def test_a_task_that_raises_is_told_and_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    threads, done = Threads(1, "t"), threading.Event()

    def broken() -> None:
        raise SystemExit

    threads.submit(broken)
    threads.submit(done.set)
    assert done.wait(10)
    assert "a task raised" in caplog.text
    threads.close()


def test_who_closes_forgets_what_waits_and_lets_the_threads_go() -> None:
    threads, gate, begun, ran = Threads(1, "closing"), threading.Event(), threading.Event(), list[int]()

    def task() -> None:
        begun.set()
        gate.wait(10)

    threads.submit(task)
    threads.submit(lambda: ran.append(1))
    assert begun.wait(10)
    (thread,) = [one for one in threading.enumerate() if one.name == "closing_0"]
    threads.close()
    gate.set()
    thread.join(10)
    assert (thread.is_alive(), ran) == (False, [])


def test_a_task_that_never_ends_does_not_keep_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", ENDLESS], timeout=30, check=False).returncode == 0


async def test_what_is_run_apart_waits_for_nobody_in_the_shared_pool() -> None:
    loop, gate = asyncio.get_running_loop(), threading.Event()
    full = [loop.run_in_executor(None, gate.wait, 10) for _ in range(64)]
    assert await asyncio.wait_for(apart(loop, "t", lambda one, other: one + other, 1, 2), 5) == 3
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(apart(loop, "t", lambda: 1 / 0), 5)
    given_up = apart(loop, "t", gate.wait, 10)
    given_up.cancel()
    gate.set()
    await asyncio.gather(*full)
    await asyncio.sleep(0.01)
    assert given_up.cancelled()
