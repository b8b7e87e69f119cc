"""What a driver must be able to do for the libraries of an image."""

from __future__ import annotations

import pytest

from fairlead.contracts.errors import DriverMismatch, UsageError
from fairlead.kit import config, cuda


def test_a_driver_runs_every_minor_version_of_its_major_and_older_ones() -> None:
    cuda.check("", None)
    cuda.check("12.4", (12, 2))
    cuda.check("12.4", (13, 0))
    cuda.check("11.8", (12, 0))


def test_no_driver_or_an_old_one_is_told_with_what_to_do() -> None:
    with pytest.raises(DriverMismatch, match=r"need CUDA 12\.4, and there is no NVIDIA driver.*525\.60"):
        cuda.check("12.4", None)
    with pytest.raises(DriverMismatch, match=r"goes to 11\.8; install a driver for CUDA 12"):
        cuda.check("12.4", (11, 8))
    with pytest.raises(DriverMismatch, match="CUDA 99"):
        cuda.check("99.0", (12, 0))


@pytest.mark.parametrize("text", ["12", "12.x", "", "a.b", "12.4.1"])
def test_a_version_is_two_numbers(text: str) -> None:
    with pytest.raises(UsageError, match=r"MAJOR\.MINOR"):
        cuda.version(text)


def test_the_driver_here_is_a_pair_or_none() -> None:
    found = cuda.driver()
    assert found is None or found >= (8, 0)


def test_the_environment_says_what_is_needed_and_when_things_are_built() -> None:
    assert config.cuda({"FAIRLEAD_CUDA": "12.4"}) == "12.4"
    assert config.cuda({}) == ""
    assert config.build_epoch({"SOURCE_DATE_EPOCH": "12"}) == 12
    assert config.build_epoch({}) is None
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        config.build_epoch({"SOURCE_DATE_EPOCH": "yesterday"})
    assert str(config.home(environ={"FAIRLEAD_WEIGHTS": "/opt/weights"}).weights) == "/opt/weights"
