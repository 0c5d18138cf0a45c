"""Removes the directories of local volumes that nobody needs any more, on the node that has them.

    claim deleted ─► controller deletes the volume ─► protection lifted ─► here: directory gone ─► finalizer gone ─► volume gone

The volume object outlives its directory, never the other way round: what still takes up disk can be seen. A volume
whose policy is not Delete by then only loses its finalizer.
"""

import asyncio
import logging
import shutil
from pathlib import Path
from random import Random

from msgspec.structs import replace

from kubeapi.claims import PROVISIONED_BY, PROVISIONER, RECLAIM, VOLUME_NODE, VOLUME_PROTECTION
from kubeapi.client.controller import Controller, ControllerMetrics, Done, own_key
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.client.keys import Key
from kubeapi.clock import Clock
from kubeapi.errors import NotFound
from kubeapi.tasks import forever
from kubeapi.types.core_v1 import PersistentVolume


class VolumeReclaimer:
    def __init__(
        self,
        *,
        client: Client,
        node: str,
        on_disk: bool,
        clock: Clock,
        rng: Random,
        log: logging.Logger,
        metrics: ControllerMetrics | None = None,
    ) -> None:
        """`node` is the value of the node's hostname label. Not `on_disk`: a hollow node, whose pods write nothing."""
        self.name = "volume-reclaimer"
        self._client = client
        self._on_disk = on_disk
        self._rng = rng
        self._log = log
        ours = f"{VOLUME_NODE}={node}"
        self._volumes = Informer(client, PersistentVolume, rng=rng, label_selector=ours, metrics=metrics, log=log)
        self._controller: Controller[Key] = Controller(
            self.name, self.reconcile, sources={self._volumes: own_key}, clock=clock, rng=rng, metrics=metrics, log=log
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, run in ((self._volumes.name, self._volumes.run), (self.name, self._controller.run)):
                tasks.create_task(forever(run, name=name, rng=self._rng, log=self._log), name=name)

    async def reconcile(self, key: Key) -> Done:
        volume = self._volumes.get(key)
        if volume is None or not may_reclaim(volume):
            return Done()
        if self._on_disk and (directory := directory_of(volume)) is not None:
            await asyncio.to_thread(discard, directory)
            self._log.info("volume %s: removed %s", key.name, directory)
        kept = [f for f in volume.metadata.finalizers if f != RECLAIM]
        try:
            await self._client.update(replace(volume, metadata=replace(volume.metadata, finalizers=kept)))
        except NotFound:
            return Done()
        return Done()


def may_reclaim(volume: PersistentVolume) -> bool:
    """It is being deleted, waits for us, and no claim holds it."""
    meta = volume.metadata
    return (
        meta.deletion_timestamp is not None and RECLAIM in meta.finalizers and VOLUME_PROTECTION not in meta.finalizers
    )


def directory_of(volume: PersistentVolume) -> Path | None:
    """What is to be removed. None for anything that does not look exactly like what the provisioner makes."""
    source, name = volume.spec.host_path, volume.metadata.name
    if source is None or volume.spec.persistent_volume_reclaim_policy != "Delete":
        return None
    if volume.metadata.annotations.get(PROVISIONED_BY) != PROVISIONER or not name.startswith("pvc-"):
        return None
    path = Path(source.path)
    safe = path.is_absolute() and ".." not in path.parts and path.name.startswith(f"{name}_")
    return path if safe else None


def discard(directory: Path) -> None:
    """Never through a symbolic link: rmtree refuses one in place of the directory, and does not follow those inside."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
