"""What this machine is, in the words of container images."""

from __future__ import annotations

import platform
from typing import Final

PLATFORM: Final = f"linux/{'arm64' if platform.machine() in ('arm64', 'aarch64') else 'amd64'}"
"""Operating system and architecture of images that run here, as ``--platform`` takes them."""
