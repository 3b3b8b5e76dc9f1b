"""Programs besides Python that some tests need: tests without them are skipped, or fail where the run promises them."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

thorough = pytest.mark.thorough  # `make test` leaves it to `make thorough`; `.ci/run` runs both
REQUIRED = os.environ.get("FLIGHTDECK_TEST_SERVICES") == "required"  # read before fixtures clear the environment


def missing(program: str, package: str) -> NoReturn:
    """Skip or fail a test whose program is not installed.

    Args:
        package: of Debian, that has it.
    """
    words = f"{program} is not installed (apt install {package})"
    if REQUIRED:
        pytest.fail(f"{words}, and FLIGHTDECK_TEST_SERVICES=required promises it")
    pytest.skip(words)
