"""Real processes that start at once."""

from __future__ import annotations

import json
import subprocess
import sys


def race(code: str, argument_lists: list[list[str]]) -> list[object]:
    """Start one process for each argument list, let all go at once, and give what each printed."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in argument_lists
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * len(started), [error for _, error in ended]
    return [json.loads(out) for out, _ in ended]
