"""A pod's volumes as directories of this machine, under ROOT/pods/UID.

Files of ConfigMaps, Secrets and the downward API are written into a fresh directory, to which the symlink `..data`
is then switched in one rename: a reader sees all old or all new files, never a mixture.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kubeapi.client.interface import Client
from kubeapi.types.authentication_v1 import TokenRequest, TokenRequestSpec
from kubeapi.types.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    DownwardAPIVolumeFile,
    HostPathVolumeSource,
    KeyToPath,
    Pod,
    ProjectedVolumeSource,
    SecretVolumeSource,
    Volume,
)
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.environment import expand
from node_agent.references import MissingReference, References, field_value, resource_value
from node_agent.runtimes.interface import Mount


@dataclass(frozen=True, slots=True)
class File:
    data: bytes
    mode: int = 0o644


Tree = Mapping[str, File]


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
    ) -> None:
        self._root = root
        self._references = references
        self._client = client
        self._allocatable = allocatable
        self._host_ip = host_ip
        self._tokens: dict[tuple[str, str, str], bytes] = {}

    def home(self, uid: str) -> Path | None:
        return self._root / "pods" / uid if self._root else None

    async def prepare(self, pod: Pod, *, pod_ip: str = "") -> dict[str, Path]:
        """Makes or refreshes every volume; where each is. Raises MissingReference."""
        made: dict[str, Path] = {}
        for volume in pod.spec.volumes:
            try:
                made[volume.name] = await self._one(pod, volume, pod_ip)
            except OSError as error:
                raise MissingReference(f'volume "{volume.name}": {error}') from error
            except MissingReference as error:
                raise MissingReference(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
        return made

    async def remove(self, uid: str) -> None:
        self._tokens = {key: token for key, token in self._tokens.items() if key[0] != uid}
        if (home := self.home(uid)) is not None:
            await asyncio.to_thread(_discard, home)

    async def _one(self, pod: Pod, volume: Volume, pod_ip: str) -> Path:
        home = self.home(pod.metadata.uid)
        here = (home or Path("/hollow")) / "volumes" / volume.name
        if volume.host_path is not None:
            if home is not None:
                await asyncio.to_thread(_check_host_path, volume.host_path)
            return Path(volume.host_path.path)
        claim = volume.persistent_volume_claim
        if claim is not None or volume.ephemeral is not None:
            name = claim.claim_name if claim is not None else f"{pod.metadata.name}-{volume.name}"
            owner = pod.metadata.uid if claim is None else ""
            bound = await self._references.claimed(pod.metadata.namespace, name, owner=owner)
            if bound.spec.host_path is not None:
                source = bound.spec.host_path
                if home is not None:
                    await asyncio.to_thread(_check_host_path, source)
                return Path(source.path)
            if bound.spec.local is not None:
                return Path(bound.spec.local.path)
            raise MissingReference(f'persistentvolume "{bound.metadata.name}" has no hostPath or local source')
        tree = await self._tree(pod, volume, pod_ip)
        if tree is not None:
            if home is not None:
                await asyncio.to_thread(write_tree, here, tree, _group(pod))
            return here
        if volume.empty_dir is not None or _no_source(volume):
            if home is not None:
                await asyncio.to_thread(_empty_dir, here, _group(pod))
            return here
        raise MissingReference("this kind of volume is not supported here")

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
        return _chosen(data, source.items, _mode(source.default_mode), optional=source.optional)

    async def _secret(self, pod: Pod, source: SecretVolumeSource) -> Tree:
        name, optional = source.secret_name, source.optional
        data = await self._references.secret(pod.metadata.namespace, name, optional=optional)
        return _chosen(data, source.items, _mode(source.default_mode), optional=optional)

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
                files |= _chosen(data, secret.items, mode, optional=secret.optional)
            elif (config_map := part.config_map) is not None:
                data = await self._references.config_map(namespace, config_map.name, optional=config_map.optional)
                files |= _chosen(data, config_map.items, mode, optional=config_map.optional)
            elif part.downward_api is not None:
                files |= self._downward(pod, part.downward_api.items, mode, pod_ip)
            elif (token := part.service_account_token) is not None:
                seconds = token.expiration_seconds or 3600
                files[token.path] = File(
                    await self._token(pod, token.audience, seconds), 0o600 if _group(pod) is None else 0o640
                )
        return files

    async def _token(self, pod: Pod, audience: str, seconds: int) -> bytes:
        account = pod.spec.service_account_name or "default"
        key = (pod.metadata.uid, account, audience)
        if key not in self._tokens:
            asked = TokenRequest(
                metadata=ObjectMeta(name=account, namespace=pod.metadata.namespace),
                spec=TokenRequestSpec(audiences=[audience] if audience else [], expiration_seconds=seconds),
            )
            made = await self._client.create(asked, subresource="token", name=account, namespace=pod.metadata.namespace)
            self._tokens[key] = made.status.token.encode()
        return self._tokens[key]


def mounts_of(wish: Container, where: Mapping[str, Path], env: Mapping[str, str], *, on_disk: bool) -> list[Mount]:
    """Raises MissingReference for a volume that the pod does not have."""
    mounts = []
    for mount in wish.volume_mounts:
        if (source := where.get(mount.name)) is None:
            raise MissingReference(f'container "{wish.name}" mounts volume "{mount.name}", which the pod has not')
        inner = expand(mount.sub_path_expr, env) if mount.sub_path_expr else mount.sub_path
        if inner:
            if PurePosixPath(inner).is_absolute() or ".." in PurePosixPath(inner).parts:
                raise MissingReference(f"subPath {inner!r} must be a path inside the volume")
            base, source = source.resolve(), source / inner
            if on_disk:
                if not source.exists():
                    source.mkdir(parents=True)
                # A subPath mount shows the file itself: it does not follow later switches of ..data.
                source = source.resolve()
                if not source.is_relative_to(base):
                    raise MissingReference(f"subPath {inner!r} leads out of the volume")
        spread = {"HostToContainer": "rslave", "Bidirectional": "rshared"}.get(mount.mount_propagation or "", "")
        mounts.append(Mount(str(source), mount.mount_path, mount.read_only, spread))
    return mounts


def write_tree(here: Path, tree: Tree, group: int | None) -> None:
    """Switches the visible files to `tree` at once; writes nothing when they are the same already."""
    here.mkdir(parents=True, exist_ok=True)
    link = here / "..data"
    current = link.resolve() if link.is_symlink() else None
    if current is not None and _same(current, tree):
        return
    serial = 1 + max((int(p.name[4:]) for p in here.glob("..v_*") if p.name[4:].isdigit()), default=0)
    fresh = here / f"..v_{serial}"
    fresh.mkdir(mode=0o755)
    for path, file in tree.items():
        target = fresh / path
        if not target.resolve().is_relative_to(fresh.resolve()):
            raise MissingReference(f"path {path!r} leads out of the volume")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        target.chmod(file.mode | (0o040 if group is not None else 0))
        if group is not None:
            os.chown(target, -1, group)
    pending = here / "..data_next"
    pending.unlink(missing_ok=True)
    pending.symlink_to(fresh.name)
    pending.rename(link)
    tops = {PurePosixPath(path).parts[0] for path in tree}
    for name in tops:
        if not (here / name).is_symlink():
            (here / name).symlink_to(f"..data/{name}")
    for entry in list(here.iterdir()):
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if current is not None:
        shutil.rmtree(current)


def _same(current: Path, tree: Tree) -> bool:
    there = {str(p.relative_to(current)): p for p in current.rglob("*") if p.is_file()}
    return there.keys() == tree.keys() and all(there[path].read_bytes() == file.data for path, file in tree.items())


def _chosen(data: Mapping[str, bytes], items: Sequence[KeyToPath], mode: int, *, optional: bool | None) -> Tree:
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files = {}
    for item in items:
        if item.key in data:
            files[item.path] = File(data[item.key], mode if item.mode is None else item.mode)
        elif not optional:
            raise MissingReference(f"references non-existent key: {item.key}")
    return files


def _check_host_path(source: HostPathVolumeSource) -> None:
    path, kind = Path(source.path), source.type or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    checks = {
        "Directory": Path.is_dir,
        "DirectoryOrCreate": Path.is_dir,
        "File": Path.is_file,
        "FileOrCreate": Path.is_file,
        "Socket": Path.is_socket,
        "CharDevice": Path.is_char_device,
        "BlockDevice": Path.is_block_device,
    }
    if kind in checks and not checks[kind](path):
        raise MissingReference(f"hostPath type check failed: {path} is not a {kind}")
    if kind == "":
        path.mkdir(mode=0o755, parents=True, exist_ok=True) if not path.exists() else None


def _empty_dir(here: Path, group: int | None) -> None:
    if here.exists():
        return
    here.mkdir(parents=True)
    here.chmod(0o777)
    if group is not None:
        os.chown(here, -1, group)
        here.chmod(0o777 | stat.S_ISGID)


def _discard(home: Path) -> None:
    if home.exists():
        shutil.rmtree(home)


def _no_source(volume: Volume) -> bool:
    return all(getattr(volume, name) is None for name in volume.__struct_fields__ if name != "name")


def _group(pod: Pod) -> int | None:
    return pod.spec.security_context.fs_group if pod.spec.security_context is not None else None


def _mode(mode: int | None) -> int:
    return 0o644 if mode is None else mode
