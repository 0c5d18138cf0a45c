"""Whatever the server has taken, kubectl-lite can show it."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from kubeapi.codec import decode, from_builtins, to_builtins
from kubeapi.errors import ApiError
from kubeapi.meta import replace
from kubeapi.schema import descriptor_of, fields_of
from kubeapi.scheme import SCHEME
from tests.component.kubectl_lite_world import World, world
from tests.support.odd_objects import disturb, nearly_right, object_of, resource_of

OBJECTS = 200
STORED = [
    r for r in SCHEME.resources if not r.kind.endswith("Review") and r.kind not in ("ComponentStatus", "Eviction")
]


async def made(world: World, rng: Random) -> Any:
    """An object that is there now, or None: it was refused. Half of those with a status have an odd one."""
    body = nearly_right(rng) if rng.random() < 0.7 else object_of(rng.choice(STORED), rng)
    resource = resource_of(body)
    try:
        obj = decode(resource.type, json.dumps(body).encode())
        metadata = replace(obj.metadata, namespace="default" if resource.namespaced else "")
        obj = await world.client.create(replace(obj, metadata=metadata))
    except ApiError:
        return None
    status = fields_of(descriptor_of(resource.type)).get("status")
    if status is not None and status.message is not None and rng.random() < 0.5:
        full = to_builtins(obj)
        disturb(full.setdefault("status", {}), status.message, rng)
        try:
            return await world.client.update(from_builtins(resource.type, full), subresource="status")
        except ApiError:
            pass
    return obj


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_taken_can_be_shown(seed: int) -> None:
    rng, shown = Random(seed), 0
    async with world() as cluster:
        for _ in range(OBJECTS):
            obj = await made(cluster, rng)
            if obj is None:
                continue
            resource, meta = SCHEME.resource_of(obj), obj.metadata
            for words in (("describe",), ("get", "-o", "wide", "--show-labels"), ("get", "-o", "yaml")):
                told = await cluster.ok(words[0], resource.qualified, meta.name, *words[1:])
                assert meta.name in told
            await cluster.client.delete(resource.type, meta.name, meta.namespace, grace_seconds=0)
            shown += 1
    assert shown > OBJECTS / 4
