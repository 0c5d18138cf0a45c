"""Carries out the plan of a Deployment."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.controllers.deployment.plan import DeploymentPlan, plan
from controlplane.controllers.deployment.sets import REVISION, replicas, without_hash
from controlplane.controllers.deployment.status import refused
from controlplane.controllers.shared import Shared, may_adopt
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import (
    Key,
    by_controller,
    by_namespace,
    controller_of,
    key_of,
    owner_key,
    revision_of,
)
from kubeapi.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from kubeapi.meta import controller_reference, is_controlled_by, replace
from kubeapi.selectors import label_query
from kubeapi.types.apps_v1 import Deployment, ReplicaSet
from kubeapi.types.core_v1 import Pod

COMPONENT = "deployment-controller"
"""Who tells the events."""


class Deployments:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._deployments = shared.informers.of(Deployment, {"namespace": by_namespace})
        self._sets = shared.informers.of(ReplicaSet, {"namespace": by_namespace, "controller": by_controller})
        self._pods = shared.informers.of(Pod, {"namespace": by_namespace, "controller": by_controller})
        self._barrier: Barrier[Key] = Barrier()
        self.controller: Controller[Key] = Controller(
            "deployment",
            self.reconcile,
            sources={
                self._deployments: own_key,
                self._sets: self._keys_of_set,
                self._pods: self._keys_of_pod,
            },
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
            workers=5,
        )

    def _keys_of_set(self, rs: ReplicaSet) -> list[Key]:
        if controller_of(rs) is not None:
            key = owner_key("Deployment")(rs)
            return [key] if key is not None else []
        found = self._deployments.cache.by("namespace", rs.metadata.namespace)
        return [key_of(d) for d in found if label_query(d.spec.selector).matches(rs.metadata.labels)]

    def _keys_of_pod(self, pod: Pod) -> Key | None:
        """For Recreate, which waits until the old pods are gone."""
        key = owner_key("ReplicaSet")(pod)
        rs = self._sets.get(key) if key is not None else None
        key = owner_key("Deployment")(rs) if rs is not None else None
        deployment = self._deployments.get(key) if key is not None else None
        return key if deployment is not None and deployment.spec.strategy.type == "Recreate" else None

    async def reconcile(self, key: Key) -> Done:
        deployment = self._deployments.get(key)
        if deployment is None:
            self._barrier.forget(key)
            return Done()
        if not self._barrier.ready(key, self._sets.revision):
            return Done(requeue_after=0.05)
        owned = await self._claim(key, deployment)
        pods = [pod for rs in owned for pod in self._pods.cache.by("controller", rs.metadata.uid)]
        todo = plan(deployment, owned, pods, self._shared.clock.now().replace(microsecond=0))
        await self._act(key, deployment, todo)
        return Done(requeue_after=todo.look_again)

    async def _claim(self, key: Key, deployment: Deployment) -> list[ReplicaSet]:
        query = label_query(deployment.spec.selector)
        owned = []
        for rs in self._sets.cache.by("namespace", key.namespace):
            matches = query.matches(rs.metadata.labels)
            if is_controlled_by(rs, deployment):
                if matches:
                    owned.append(rs)
                else:
                    refs = [r for r in rs.metadata.owner_references if r.uid != deployment.metadata.uid]
                    await self._client.update(replace(rs, metadata=replace(rs.metadata, owner_references=refs)))
            elif (
                controller_of(rs) is None
                and matches
                and not (rs.metadata.deletion_timestamp or deployment.metadata.deletion_timestamp)
            ):
                if not await may_adopt(self._client, deployment):
                    raise Conflict(f"{key} is being deleted, or another by now")
                refs = [*rs.metadata.owner_references, controller_reference(deployment)]
                owned.append(
                    await self._client.update(replace(rs, metadata=replace(rs.metadata, owner_references=refs)))
                )
                self._barrier.wrote(key, revision_of(owned[-1]))
        return owned

    async def _act(self, key: Key, deployment: Deployment, todo: DeploymentPlan) -> None:
        if todo.create is not None:
            await self._create(key, deployment, todo.create)
        for before, after in todo.update:
            self._barrier.wrote(key, revision_of(await self._client.update(after)))
            if replicas(before) != replicas(after):
                way = "up" if replicas(after) > replicas(before) else "down"
                self._tell_scaled(deployment, after, way, replicas(before))
        await self._delete(todo.delete)
        current = deployment
        if todo.revision and deployment.metadata.annotations.get(REVISION) != todo.revision:
            notes = {**deployment.metadata.annotations, REVISION: todo.revision}
            current = await self._client.update(
                replace(deployment, metadata=replace(deployment.metadata, annotations=notes))
            )
        if todo.status != deployment.status:
            await self._client.update(replace(current, status=todo.status), subresource="status")

    async def _delete(self, old: Sequence[ReplicaSet]) -> None:
        for rs in old:
            try:
                await self._client.delete(ReplicaSet, rs.metadata.name, rs.metadata.namespace, uid=rs.metadata.uid)
            except NotFound:
                continue

    async def _create(self, key: Key, deployment: Deployment, rs: ReplicaSet) -> None:
        """A name that is taken by another template is a collision of hashes: count it, and hash anew."""
        try:
            created = await self._client.create(rs)
        except AlreadyExists as error:
            there = await self._client.get(ReplicaSet, rs.metadata.name, key.namespace)
            self._barrier.wrote(key, revision_of(there))
            same = without_hash(there.spec.template) == without_hash(rs.spec.template)
            if not (is_controlled_by(there, deployment) and same):
                status = replace(deployment.status, collision_count=(deployment.status.collision_count or 0) + 1)
                await self._client.update(replace(deployment, status=status), subresource="status")
            raise Conflict(f"replica set {rs.metadata.name} is there already") from error
        except (Forbidden, Invalid) as error:
            status = refused(deployment.status, str(error), self._shared.clock.now().replace(microsecond=0))
            self._shared.events.named(COMPONENT).event(deployment, "Warning", "ReplicaSetCreateError", str(error))
            if status != deployment.status:
                await self._client.update(replace(deployment, status=status), subresource="status")
            raise
        self._barrier.wrote(key, revision_of(created))
        if replicas(rs):
            self._tell_scaled(deployment, rs, "up", 0)

    def _tell_scaled(self, deployment: Deployment, rs: ReplicaSet, way: str, before: int) -> None:
        message = f"Scaled {way} replica set {rs.metadata.name} from {before} to {replicas(rs)}"
        self._shared.events.named(COMPONENT).event(deployment, "Normal", "ScalingReplicaSet", message)
