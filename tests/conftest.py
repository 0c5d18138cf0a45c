"""For all tests: says that a synchronous test has no event loop, else a plugin that asks for one makes one and never
closes it, and the next asynchronous test is blamed for the leak.
"""

import asyncio
import inspect

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and not inspect.iscoroutinefunction(item.function):
        asyncio.get_event_loop_policy().set_event_loop(None)
