"""Parts of the runner that need no engine to be shown right."""

from __future__ import annotations

import asyncio

import pytest

from tesgw.model import Resources
from tesgw.runner.container import executor_config
from tesgw.runner.settle import settled, together
from tests.runner.conftest import make_job, sh


async def test_what_must_not_be_left_half_done_is_done_before_it_is_cancelled() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def step() -> None:
        begun.set()
        await may_end.wait()
        done.append("done")

    task = asyncio.create_task(settled(step()))
    await begun.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(may_end.set)

    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done"]


async def test_the_first_failure_ends_what_runs_beside_it() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        await together(wait(), fail())
    assert ended == ["cancelled"]


@pytest.mark.parametrize(
    ("resources", "limits"),
    [
        (Resources(), {}),
        (Resources(cpu_cores=2), {"NanoCpus": 2_000_000_000}),
        (Resources(ram_gb=0.5), {"Memory": 500_000_000, "MemorySwap": 500_000_000}),
        (Resources(ram_gb=0.001), {"Memory": 6 * 2**20, "MemorySwap": 6 * 2**20}),
    ],
)
def test_limits_are_those_the_task_asks_for_and_swap_adds_nothing(resources: Resources, limits: dict[str, int]) -> None:
    config = executor_config(make_job(sh(""), resources=resources), 0, {}, "/launcher", "none")
    given = {name: config["HostConfig"].get(name) for name in ("NanoCpus", "Memory", "MemorySwap")}

    assert {name: value for name, value in given.items() if value is not None} == limits
