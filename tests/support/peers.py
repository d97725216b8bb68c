"""Programs from Debian packages that tests need: missing ones skip a test, and fail it where interop is required."""

import os
import shutil

import pytest

REQUIRED = os.environ.get("WAYMARK_REQUIRE_INTEROP") == "1"


def program(name: str, package: str) -> str:
    """The path of `name`. Skips the test if its Debian package is not installed; fails it under WAYMARK_REQUIRE_INTEROP=1."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        reason = f"{name} is missing; install the Debian package {package}"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    return path
