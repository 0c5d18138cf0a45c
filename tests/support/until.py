"""Waiting for a state of a collection: by watching it, never by asking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kubeapi.client.interface import Client


async def until(
    client: Client, type_: Any, test: Callable[[list[Any]], bool], namespace: str = "default", seconds: float = 600
) -> list[Any]:
    """The collection, as soon as it passes."""
    async with asyncio.timeout(seconds):
        listing = await client.list(type_, namespace)
        state = {o.metadata.name: o for o in listing.items}
        if test(list(state.values())):
            return list(state.values())
        async for batch in client.watch(type_, namespace, resource_version=listing.resource_version):
            for event in batch:
                if event.type == "DELETED":
                    state.pop(event.object.metadata.name, None)
                elif event.type != "BOOKMARK":
                    state[event.object.metadata.name] = event.object
            if test(list(state.values())):
                return list(state.values())
    raise AssertionError("the watch ended")
