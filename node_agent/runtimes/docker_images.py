"""The images of a Docker engine: what is here, whom it runs as, and what is pulled."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

from node_agent.images import RECIPES
from node_agent.runtimes.docker_calls import API_VERSION, EngineCalls, Refused
from node_agent.runtimes.errors import ImageNotFound, RuntimeFault, RuntimeUnavailable
from node_agent.runtimes.interface import ImageInfo, Login

LONGEST_PULL = 3600.0


class DockerImages:
    def __init__(self, engine: EngineCalls, base_url: str) -> None:
        self._engine = engine
        self._url = base_url

    async def ensure_ours(self) -> list[str]:
        """The names of those of our own images that were not there."""
        if all([await self.has(recipe.name) for recipe in RECIPES]):
            return []
        return await asyncio.to_thread(_import_images, self._url)

    async def all(self) -> Sequence[ImageInfo]:
        rows = await self._engine.json("GET", "/images/json")
        return [
            ImageInfo(
                id=row["Id"],
                names=[n for n in [*(row.get("RepoTags") or ()), *(row.get("RepoDigests") or ())] if "<none>" not in n],
                size=int(row["Size"]),
            )
            for row in rows
        ]

    async def has(self, image: str) -> bool:
        try:
            await self._inspect(image)
        except ImageNotFound:
            return False
        return True

    async def user(self, image: str) -> str:
        raw = await self._inspect(image)
        return str((raw.get("Config") or {}).get("User") or "")

    async def pull(self, image: str, logins: Sequence[Login]) -> None:
        refusals: list[str] = []
        for login in logins or (None,):
            try:
                return await self._pull(image, login)
            except RuntimeUnavailable:
                raise
            except RuntimeFault as error:
                refusals.append(str(error))
        raise ImageNotFound("; ".join(dict.fromkeys(refusals)))

    async def _pull(self, image: str, login: Login | None) -> None:
        repository, tag = split_image(image)
        auth: dict[str, str] = {}
        if login is not None:
            named = {"username": login.username, "password": login.password}
            auth = {"identitytoken": login.identity_token} if login.identity_token else named
        told = await self._engine.ask(
            "POST",
            "/images/create",
            query={"fromImage": repository, "tag": tag},
            headers={"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()},
            seconds=LONGEST_PULL,
        )
        # What goes wrong after the first byte is told in the stream, under a status of 200.
        for line in told.decode(errors="replace").splitlines():
            if line.startswith("{") and (problem := json.loads(line).get("error")):
                raise RuntimeFault(str(problem))

    async def _inspect(self, image: str) -> Any:
        try:
            return await self._engine.json("GET", f"/images/{image}/json")
        except Refused as error:
            if error.status == 404:
                raise ImageNotFound(str(error)) from error
            raise


def _import_images(base_url: str) -> list[str]:
    import docker  # 8 MiB, for what an agent does once on a new machine

    from node_agent.images import ensure

    engine: Any = docker.APIClient(base_url=base_url, version=API_VERSION, timeout=60)
    try:
        return ensure(engine)
    finally:
        engine.close()


def split_image(image: str) -> tuple[str, str]:
    """Repository, and tag or digest; a port in the registry's name is no tag."""
    if "@" in image:
        repository, _, digest = image.partition("@")
        return repository, digest
    repository, colon, tag = image.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (image, "latest")
