from pathlib import Path

import pytest

from fairlead.kit import memory


def test_there_is_some() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("the system does not say")
    assert 1 << 20 < memory.available() < 1 << 50


def test_a_container_has_what_its_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 1000 kB\n",
        "/sys/fs/cgroup/memory.max": "500000",
        "/sys/fs/cgroup/memory.current": "200000",
    }
    monkeypatch.setattr(Path, "read_text", lambda self: files[str(self)])
    assert memory.available() == 300_000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.available() == 1_024_000
    files["/proc/meminfo"] = "MemAvailable"
    assert memory.available() == 0
