"""One API server and one Docker node for a module's tests; kubectl after kubectl for each test that wants one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.docker_cluster import DockerCluster, docker_cluster
from tests.support.kubectls import kubectl_params


@pytest.fixture(scope="session", params=kubectl_params())
def kubectl(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DockerCluster]:
    async with docker_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made
