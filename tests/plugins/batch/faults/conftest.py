from __future__ import annotations

import pytest
import pytest_asyncio

from tests.plugins.batch.blobs import Blobs
from tests.plugins.batch.faults.beside import Outcomes, play
from tests.plugins.batch.faults.world import Grounds


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def outcomes(azurite: Blobs, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of all tests that were chosen and run side by side."""
    async with Grounds.ready(azurite, tmp_path_factory.mktemp("faults")) as grounds:
        return await play(grounds, request.session.items)
