"""For all tests: which real parts are here, and a clean start for synchronous ones.

A test marked netns or e2e skips where the machine cannot run it, unless SAMPAN_REQUIRE names the part (as CI does):
then it runs, and fails with the reason.
"""

import asyncio
import inspect
import os
import shutil
import subprocess

import hypothesis
import pytest

from tests.support.compose import build_image

# Properties are not timed: a busy machine is no failure.
hypothesis.settings.register_profile("sampan", deadline=None)
hypothesis.settings.load_profile("sampan")


@pytest.fixture(scope="session")
def compose_image() -> None:
    build_image()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and not inspect.iscoroutinefunction(item.function):
        # Else a plugin that asks for the loop makes one, never closes it, and the next asynchronous test is blamed.
        asyncio.get_event_loop_policy().set_event_loop(None)
    required = set(os.environ.get("SAMPAN_REQUIRE", "").split(","))
    for part in ("netns", "e2e"):
        if item.get_closest_marker(part) and part not in required and (reason := _missing(part)):
            pytest.skip(reason)


def _missing(part: str) -> str:
    if os.geteuid() != 0:
        return "needs root"
    absent = [tool for tool in ("ip", "nft", "nsenter", "busybox") if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)}"
    if part == "e2e" and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "needs a Docker engine"
    return ""
