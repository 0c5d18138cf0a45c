"""One API server and one Docker node for a module's tests; kubectl after kubectl for each test that wants one."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.docker_cluster import DockerCluster, docker_cluster
from tests.support.kubectls import find_kubectls, name_of

_FOUND = find_kubectls()
_ABSENT = pytest.param(None, id="no-kubectl")


@pytest.fixture(scope="session", params=[pytest.param(p, id=name_of(p)) for p in _FOUND] or [_ABSENT])
def kubectl(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        absent = "no kubectl in SAMPAN_KUBECTL_DIR or PATH"
        if "kubectl" in os.environ.get("SAMPAN_REQUIRE", "").split(","):
            pytest.fail(absent)
        pytest.skip(absent)
    path: Path = request.param
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DockerCluster]:
    async with docker_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made
