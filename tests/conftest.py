"""For all tests: which real parts are here (tests.support.parts), and a clean start for synchronous ones."""

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import parts
from tests.support.compose import build_image
from tests.support.etcd_server import EtcdServer

# Properties are not timed: a busy machine is no failure.
hypothesis.settings.register_profile("sampan", deadline=None)
hypothesis.settings.load_profile("sampan")


@pytest.fixture(scope="session")
def compose_image() -> None:
    build_image()


@pytest.fixture
def etcd_server(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd of the test's own. Mark what uses it with etcd."""
    with EtcdServer(tmp_path) as server:
        yield server


REQUIRED = pytest.StashKey[frozenset[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REQUIRED] = parts.required(os.environ.get("SAMPAN_REQUIRE", ""))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and not inspect.iscoroutinefunction(item.function):
        # Else a plugin that asks for the loop makes one, never closes it, and the next asynchronous test is blamed.
        asyncio.get_event_loop_policy().set_event_loop(None)
    parts.check(item, item.config.stash[REQUIRED])
