"""A pod's volumes as directories of this machine, under ROOT/pods/UID; which of its kinds is what, and what goes in.

What is put there, and how, is in volume_files.py: all files of a ConfigMap, a Secret or the downward API change at
once. A kind of volume, or an option of one, that this agent cannot give is refused with its name, never passed over.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kubeapi.claims import PROVISIONED_BY, PROVISIONER
from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.errors import ApiError
from kubeapi.quantity import parse
from kubeapi.types.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    DownwardAPIVolumeFile,
    EmptyDirVolumeSource,
    KeyToPath,
    Pod,
    ProjectedVolumeSource,
    SecretVolumeSource,
    Volume,
    VolumeProjection,
)
from node_agent.environment import expand
from node_agent.references import MissingReference, References, field_value, resource_value
from node_agent.runtimes.interface import Mount
from node_agent.tokens import Tokens
from node_agent.volume_files import (
    File,
    Tree,
    check_host_path,
    discard,
    empty_dir,
    open_to_all,
    own,
    owned,
    used_bytes,
    write_tree,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a prepared volume is."""

    path: Path
    read_only: bool = False
    """Whatever the container's mount says."""


class Volumes:
    """Prepares what a pod mounts. With `root` None (hollow nodes) nothing touches a disk."""

    def __init__(
        self,
        *,
        root: Path | None,
        references: References,
        client: Client,
        allocatable: Mapping[str, float],
        host_ip: str,
        clock: Clock,
    ) -> None:
        self._root = root
        self._references = references
        self._tokens = Tokens(client, clock=clock)
        self._allocatable = allocatable
        self._host_ip = host_ip

    def home(self, uid: str) -> Path | None:
        return self._root / "pods" / uid if self._root else None

    async def prepare(self, pod: Pod, *, pod_ip: str = "") -> dict[str, Place]:
        """Makes or refreshes every volume; where each is. Raises MissingReference."""
        made: dict[str, Place] = {}
        if (home := self.home(pod.metadata.uid)) is not None:
            await asyncio.to_thread(own, home, self._host_ip)
        for volume in pod.spec.volumes:
            try:
                made[volume.name] = await self._one(pod, volume, pod_ip)
            except (MissingReference, ApiError, OSError) as error:
                raise MissingReference(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
        return made

    async def uids(self) -> list[str]:
        """Of all pods that have a directory of this node's making here: another node may keep its own beside them."""
        if self._root is None:
            return []
        return await asyncio.to_thread(owned, self._root / "pods", self._host_ip)

    async def remove(self, uid: str) -> None:
        self._tokens.forget(uid)
        if (home := self.home(uid)) is not None:
            await asyncio.to_thread(discard, home)

    async def overfull(self, pod: Pod) -> str:
        """Which emptyDir holds more than it may, in kubelet's words; empty if none does."""
        home = self.home(pod.metadata.uid)
        for volume in pod.spec.volumes:
            limit = _limit_of(volume.empty_dir)
            if home is None or not limit or volume.empty_dir is None or volume.empty_dir.medium:
                continue
            if await asyncio.to_thread(used_bytes, home / "volumes" / volume.name) > limit:
                size = volume.empty_dir.size_limit
                return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{size}". '
        return ""

    async def _one(self, pod: Pod, volume: Volume, pod_ip: str) -> Place:
        home = self.home(pod.metadata.uid)
        here = (home or Path("/hollow")) / "volumes" / volume.name
        if volume.host_path is not None:
            if home is not None:
                await asyncio.to_thread(check_host_path, volume.host_path)
            return Place(Path(volume.host_path.path))
        claim = volume.persistent_volume_claim
        if claim is not None or volume.ephemeral is not None:
            name = claim.claim_name if claim is not None else f"{pod.metadata.name}-{volume.name}"
            owner = pod.metadata.uid if claim is None else ""
            bound = await self._references.claimed(pod.metadata.namespace, name, owner=owner)
            read_only = claim is not None and claim.read_only
            if bound.spec.volume_mode == "Block":
                raise MissingReference(
                    f'persistentvolume "{bound.metadata.name}" is a block device: not supported here'
                )
            if bound.spec.host_path is not None:
                source = bound.spec.host_path
                if home is not None and bound.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER:
                    await asyncio.to_thread(open_to_all, Path(source.path))
                if home is not None:
                    await asyncio.to_thread(check_host_path, source)
                return Place(Path(source.path), read_only)
            if bound.spec.local is not None:
                if home is not None and not await asyncio.to_thread(Path(bound.spec.local.path).exists):
                    raise MissingReference(f'path "{bound.spec.local.path}" does not exist')
                return Place(Path(bound.spec.local.path), read_only)
            raise MissingReference(f'persistentvolume "{bound.metadata.name}" has no hostPath or local source')
        tree = await self._tree(pod, volume, pod_ip)
        if tree is not None:
            if home is not None:
                await asyncio.to_thread(write_tree, here, tree, _group(pod))
            return Place(here, read_only=True)
        if volume.empty_dir is not None or _no_source(volume):
            medium = volume.empty_dir.medium if volume.empty_dir is not None else ""
            if medium not in ("", "Memory"):
                raise MissingReference(f"emptyDir medium {medium!r} is not supported here")
            if home is not None:
                limit = _limit_of(volume.empty_dir) or int(self._allocatable.get("memory", 0))
                memory = medium == "Memory"
                await asyncio.to_thread(empty_dir, here, _group(pod), memory=memory, limit=limit)
            return Place(here)
        raise MissingReference(f"volumes of kind {_kind_of(volume)} are not supported here")

    async def _tree(self, pod: Pod, volume: Volume, pod_ip: str) -> Tree | None:
        if volume.config_map is not None:
            return await self._config_map(pod, volume.config_map)
        if volume.secret is not None:
            return await self._secret(pod, volume.secret)
        if volume.downward_api is not None:
            mode = volume.downward_api.default_mode
            return self._downward(pod, volume.downward_api.items, _mode(mode), pod_ip)
        if volume.projected is not None:
            return await self._projected(pod, volume.projected, pod_ip)
        return None

    async def _config_map(self, pod: Pod, source: ConfigMapVolumeSource) -> Tree:
        data = await self._references.config_map(pod.metadata.namespace, source.name, optional=source.optional)
        return _chosen("config", data, source.items, _mode(source.default_mode), optional=source.optional)

    async def _secret(self, pod: Pod, source: SecretVolumeSource) -> Tree:
        name, optional = source.secret_name, source.optional
        data = await self._references.secret(pod.metadata.namespace, name, optional=optional)
        return _chosen("secret", data, source.items, _mode(source.default_mode), optional=optional)

    def _downward(self, pod: Pod, items: Sequence[DownwardAPIVolumeFile], mode: int, pod_ip: str) -> Tree:
        files: dict[str, File] = {}
        for item in items:
            if item.field_ref is not None:
                text = field_value(pod, item.field_ref, pod_ip=pod_ip, host_ip=self._host_ip)
            elif item.resource_field_ref is not None:
                ref = item.resource_field_ref
                text = resource_value(pod, ref, default=None, allocatable=self._allocatable)
            else:
                continue
            files[item.path] = File(text.encode(), mode if item.mode is None else item.mode)
        return files

    async def _projected(self, pod: Pod, source: ProjectedVolumeSource, pod_ip: str) -> Tree:
        namespace, mode, files = pod.metadata.namespace, _mode(source.default_mode), dict[str, File]()
        for part in source.sources:
            if (secret := part.secret) is not None:
                data = await self._references.secret(namespace, secret.name, optional=secret.optional)
                files |= _chosen("secret", data, secret.items, mode, optional=secret.optional)
            elif (config_map := part.config_map) is not None:
                data = await self._references.config_map(namespace, config_map.name, optional=config_map.optional)
                files |= _chosen("config", data, config_map.items, mode, optional=config_map.optional)
            elif part.downward_api is not None:
                files |= self._downward(pod, part.downward_api.items, mode, pod_ip)
            elif (token := part.service_account_token) is not None:
                seconds, owner = token.expiration_seconds or 3600, common_user(pod)
                data = {"": await self._tokens.of(pod, audience=token.audience, seconds=seconds)}
                private = owner is not None or _group(pod) is not None
                files[token.path] = File(data[""], 0o600 if private else mode, owner)
            else:
                raise MissingReference(f"projected sources of kind {_kind_of(part)} are not supported here")
        return files


def mounts_of(wish: Container, where: Mapping[str, Place], env: Mapping[str, str], *, on_disk: bool) -> list[Mount]:
    """Raises MissingReference for a volume that the pod does not have."""
    if wish.volume_devices:
        raise MissingReference(f'container "{wish.name}" asks for block devices, which are not supported here')
    mounts = []
    for mount in wish.volume_mounts:
        if (place := where.get(mount.name)) is None:
            raise MissingReference(f'container "{wish.name}" mounts volume "{mount.name}", which the pod has not')
        if mount.recursive_read_only == "Enabled":
            raise MissingReference(f'recursiveReadOnly of "{mount.mount_path}" is not supported here')
        source = place.path
        inner = expand(mount.sub_path_expr, env) if mount.sub_path_expr else mount.sub_path
        if inner:
            if PurePosixPath(inner).is_absolute() or ".." in PurePosixPath(inner).parts:
                raise MissingReference(f"subPath {inner!r} must be a path inside the volume")
            base, source = source.resolve(), source / inner
            if on_disk:
                # A subPath mount shows the file itself: it does not follow later switches of ..data.
                try:
                    source = source.resolve()
                except (OSError, RuntimeError) as error:  # a link that leads to itself
                    raise MissingReference(f"subPath {inner!r}: {error}") from None
                if not source.is_relative_to(base):  # asked before anything is made: links are a container's to make
                    raise MissingReference(f"subPath {inner!r} leads out of the volume")
                if not source.exists():
                    source.mkdir(parents=True)
                    source.chmod(base.stat().st_mode & 0o7777)
        spread = {"HostToContainer": "rslave", "Bidirectional": "rshared"}.get(mount.mount_propagation or "", "")
        mounts.append(Mount(str(source), mount.mount_path, mount.read_only or place.read_only, spread))
    return mounts


def _chosen(
    kind: str, data: Mapping[str, bytes], items: Sequence[KeyToPath], mode: int, *, optional: bool | None
) -> Tree:
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files = {}
    for item in items:
        if item.key in data:
            files[item.path] = File(data[item.key], mode if item.mode is None else item.mode)
        elif not optional:
            raise MissingReference(f"references non-existent {kind} key: {item.key}")
    return files


def _no_source(volume: Volume) -> bool:
    return all(getattr(volume, name) is None for name in volume.__struct_fields__ if name != "name")


def _kind_of(source: Volume | VolumeProjection) -> str:
    fields = [n for n in source.__struct_fields__ if n != "name" and getattr(source, n) is not None]
    return source.__struct_encode_fields__[source.__struct_fields__.index(fields[0])] if fields else "none"


def _limit_of(source: EmptyDirVolumeSource | None) -> int:
    return int(parse(source.size_limit)) if source is not None and source.size_limit is not None else 0


def common_user(pod: Pod) -> int | None:
    """The user whom all containers run as, if that is said of each and the same: who may own a token."""
    shared = pod.spec.security_context.run_as_user if pod.spec.security_context is not None else None
    users = set()
    for wish in [*pod.spec.init_containers, *pod.spec.containers]:
        own = wish.security_context.run_as_user if wish.security_context is not None else None
        users.add(shared if own is None else own)
    return users.pop() if len(users) == 1 else None


def _group(pod: Pod) -> int | None:
    return pod.spec.security_context.fs_group if pod.spec.security_context is not None else None


def _mode(mode: int | None) -> int:
    return 0o644 if mode is None else mode
