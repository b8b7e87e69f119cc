"""Whether the GPU driver of this machine is new enough for the CUDA that libraries were built for."""

from __future__ import annotations

import ctypes
import re

from fairlead.contracts.errors import DriverMismatch, UsageError

LEAST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
"""CUDA major version to the first driver branch that runs it, by NVIDIA's minor version compatibility (CUDA Toolkit
Release Notes, table 2: "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version Compatibility")."""
_FORM = re.compile(r"(\d{1,3})\.(\d{1,2})")


def version(text: str) -> tuple[int, int]:
    """``12.4`` as a pair. Raises UsageError."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"the CUDA version is {text[:40]!r}; expected MAJOR.MINOR, as 12.4")
    return int(found[1]), int(found[2])


def check(wanted: str, supported: tuple[int, int] | None) -> None:
    """``wanted``: MAJOR.MINOR, empty for none.  ``supported``: the newest CUDA of the driver; None: there is none.

    A driver runs every minor version of the major versions up to its own. Raises DriverMismatch.
    """
    if not wanted:
        return
    major, minor = version(wanted)
    least = LEAST_DRIVER.get(major)
    driver = f"a driver for CUDA {major}" + (f" ({least[0]}.{least[1]} or newer)" if least else "")
    if supported is None:
        raise DriverMismatch(
            f"the libraries here need CUDA {major}.{minor}, and there is no NVIDIA driver; run the container with a "
            f"GPU (--device nvidia.com/gpu=all, --gpus all) on a machine with {driver}"
        )
    if supported[0] < major:
        raise DriverMismatch(
            f"the libraries here need CUDA {major}.{minor}, and the driver of this machine goes to "
            f"{supported[0]}.{supported[1]}; install {driver}, or use an image for CUDA {supported[0]}"
        )


def driver() -> tuple[int, int] | None:
    """The newest CUDA that the driver here runs (``cuDriverGetVersion``); None without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
        number = ctypes.c_int(0)
        status = library.cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return (number.value // 1000, number.value % 1000 // 10) if status == 0 and number.value else None
