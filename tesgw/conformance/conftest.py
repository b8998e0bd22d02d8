"""The fixtures of the suite: two worlds, one after the other, in which the same rules are tried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tesgw.conformance import harness as harnesses
from tesgw.conformance.files import FileServer
from tesgw.conformance.harness import Harness
from tesgw.conformance.plugin import pass_of
from tesgw.conformance.rules import Ahead
from tesgw.conformance.through_hooks import HookWorld
from tesgw.conformance.through_http import HttpWorld

_WORLDS: Mapping[str, type[HookWorld | HttpWorld]] = {"hooks": HookWorld, "http": HttpWorld}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    option = request.config.getoption
    harness = harnesses.load(option("--tes-harness") or option("--tes-backend"))
    try:
        await harness.start()
    except Exception as error:
        pytest.exit(f"The harness cannot start its world: {error!r}", returncode=pytest.ExitCode.USAGE_ERROR)
    yield harness
    await harness.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=list(_WORLDS))
async def world(
    request: pytest.FixtureRequest, harness: Harness, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HookWorld | HttpWorld]:
    backend = request.config.getoption("--tes-backend")
    directory = tmp_path_factory.mktemp(request.param)
    files = FileServer(harness.storage_host)
    await files.start()
    world = _WORLDS[request.param](backend, harness, directory, files)
    await world.start()
    yield world
    await world.stop()
    await files.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ahead(request: pytest.FixtureRequest, world: HookWorld | HttpWorld) -> AsyncIterator[Ahead]:
    ahead = Ahead(world)
    mine = "hooks" if isinstance(world, HookWorld) else "http"
    ahead.begin(item for item in request.session.items if item.get_closest_marker("tes_rule") and pass_of(item) == mine)
    await asyncio.sleep(0)
    yield ahead
    await ahead.end()
