"""Attempts that somebody ends, or that something cuts off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
import pytest_asyncio

from tesgw import State
from tests.plugins.batch.blobs import Blobs
from tests.plugins.batch.node import scenes
from tests.plugins.batch.node.bench import LEASE_SECONDS, Bench, open_bench
from tests.plugins.batch.node.scenes import SCENES, Seen

Scene = Callable[[Bench], Awaitable[Seen]]

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]


class Played(dict[Scene, Seen | BaseException]):
    """What came of each scene; what went wrong in it is raised to who asks for it."""

    def of(self, scene: Scene) -> Seen:
        seen = self[scene]
        if isinstance(seen, BaseException):
            raise seen
        return seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def played(azurite: Blobs, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    root = tmp_path_factory.mktemp("nodes")
    async with azurite.container(f"test{uuid4().hex}") as container:
        await container.create_container()
        async with open_bench(azurite, container, root) as bench:
            seen = await asyncio.gather(*(scene(bench) for scene in SCENES), return_exceptions=True)
            yield Played(zip(SCENES, seen, strict=True))


async def test_a_second_run_stops_the_first_and_runs_nothing(played: Played) -> None:
    seen = played.of(scenes.a_second_run_while_the_first_lives)

    assert seen.last.state is State.PREEMPTED
    assert seen.starts == 1
    assert not seen.left
    assert seen.extra == [0, 0]
    assert "again, on node twice2. It lost node twice1" in seen.last.reason
    assert seen.last.reason in seen.last.system_logs
    assert seen.last.executors[0].stdout == "so far\n"


async def test_a_second_run_waits_for_the_lease_of_a_dead_first_one_and_removes_its_containers(played: Played) -> None:
    seen = played.of(scenes.a_second_run_after_the_first_was_killed)

    assert seen.last.state is State.PREEMPTED
    assert seen.seconds > LEASE_SECONDS / 2
    assert seen.starts == 1
    assert not seen.left
    assert seen.last.end_time


async def test_who_breaks_the_lease_gets_it_once_the_executors_are_gone(played: Played) -> None:
    seen = played.of(scenes.a_cancel)

    assert seen.seconds < LEASE_SECONDS / 2
    assert not seen.left
    assert seen.last.state is State.RUNNING
    assert seen.last.executors[0].stdout == "so far\n"


async def test_a_terminated_runner_stops_its_executors_and_says_so(played: Played) -> None:
    seen = played.of(scenes.a_terminated_runner)

    assert seen.last.state is State.PREEMPTED
    assert "ended the task's runner on node term" in seen.last.reason
    assert not seen.left
    assert seen.extra == 0


async def test_a_node_without_storage_stops_its_executors_before_the_lease_ends(played: Played) -> None:
    seen = played.of(scenes.a_node_without_storage)

    assert seen.seconds < LEASE_SECONDS
    assert seen.extra is False
    assert seen.last.state is State.PREEMPTED
    assert "could not reach the storage account" in seen.last.reason


async def test_the_guard_stops_what_a_hanging_runner_runs_before_the_lease_ends(played: Played) -> None:
    seen = played.of(scenes.a_runner_that_hangs)

    assert seen.seconds < LEASE_SECONDS
    assert not seen.left
    assert seen.last.state is State.RUNNING


async def test_the_guard_removes_what_a_dead_runner_left_and_nothing_else(played: Played) -> None:
    seen = played.of(scenes.a_guarded_node)

    assert seen.extra == (True, 1)
