"""`kill -9` of the gateway at each of its steps: after a restart the task ends right, ran once, and nothing is left of it.

A request is stopped on its way, before it is carried out or before its answer comes back; then the gateway is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from tests.plugins.batch.faults.beside import side_by_side
from tests.plugins.batch.faults.gate import Deed, Gate, Rule
from tests.plugins.batch.faults.world import World

pytestmark = pytest.mark.engine

ENDLESS = "trap 'exit 9' TERM; sleep 1000 & wait"
OURS = r"(?!.*[?&]sig=)"  # the gateway signs with its key, runners have signed URLs


@dataclass(frozen=True)
class Step:
    """A request of the gateway's in the course of something; its method and path."""

    course: str
    request: str
    headers: str = ""
    to: str = "storage"

    @property
    def pattern(self) -> str:
        return rf"^{OURS}{self.request}(?=.* HTTP)(?s:.*){self.headers}"

    def __str__(self) -> str:
        words = "".join(letter if letter.isalnum() else " " for letter in f"{self.request} {self.headers}").split()
        return f"{self.course}-{'-'.join(words)}"

    def gate(self, world: World) -> Gate:
        return world.storage if self.to == "storage" else world.service


STEPS = (
    Step("run", r"PUT \S+/faults\w+\?restype=container"),
    Step("run", r"PUT \S+/secrets/"),
    Step("run", r"PUT \S+/orders/"),
    Step("run", r"POST /pools", to="batch"),
    Step("run", r"POST /jobs\?", to="batch"),
    Step("run", r"POST /jobs/\S+/addtaskcollection", to="batch"),
    Step("run", r"DELETE \S+/orders/"),
    Step("run", r"DELETE \S+/status/"),
    Step("cancel waiting", r"PUT \S+/status/"),
    Step("cancel waiting", r"DELETE /jobs/\S+/tasks/", to="batch"),
    Step("cancel waiting", r"DELETE \S+/orders/"),
    Step("cancel waiting", r"DELETE \S+/status/"),
    Step("cancel running", r"PUT \S+/status/", "x-ms-lease-action: break"),
    Step("cancel running", r"PUT \S+/status/", "x-ms-lease-action: acquire"),
    Step("cancel running", r"PUT \S+/status/", "x-ms-lease-id: (?!.*x-ms-lease-action)"),
    Step("cancel running", r"PUT \S+/status/", "x-ms-lease-action: release"),
    Step("cancel running", r"DELETE /jobs/\S+/tasks/", to="batch"),
    Step("cancel running", r"DELETE \S+/orders/"),
    Step("preempted", r"DELETE \S+/orders/"),
    Step("preempted", r"PUT \S+/orders/\w+-2"),
    Step("old pool", r"DELETE /jobs/", to="batch"),
    Step("old pool", r"DELETE /pools/", to="batch"),
)


@pytest.mark.parametrize("deed", ["stop", "stop its answer"])
@pytest.mark.parametrize("step", STEPS, ids=str)
@side_by_side()
async def test_a_gateway_killed_at_any_step_goes_on_after_it(world: World, step: Step, deed: Deed) -> None:
    rule = step.gate(world).rule(step.pattern, deed)
    await COURSES[step.course](world, rule)


async def killed(world: World, rule: Rule, **settings: object) -> None:
    """Wait until the gateway has come to the step, kill it there and start it anew."""
    await world.until(rule.came.is_set, lambda: f"{rule.pattern} never came")
    await world.restart(**settings)


async def run(world: World, rule: Rule) -> None:
    registry = {f"PRIVATE_DOCKER_REGISTRY_{name}": "localhost:1" for name in ("URL", "USERNAME", "PASSWORD")}
    await world.start(**registry)
    task_id = await world.submit()

    await killed(world, rule)

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    await world.leaves_nothing(task_id)
    assert (len(await world.pools()), len(await world.jobs())) == (1, 1)


async def cancel_waiting(world: World, rule: Rule) -> None:
    world.batch.faults.resize_fails("AccountCoreQuotaReached", "There are no cores.")
    await world.start()
    task_id = await world.submit()
    await world.says(task_id, "There are no cores.")
    await world.cancel(task_id)

    await killed(world, rule)

    task = await world.ended(task_id)
    await world.leaves_nothing(task_id)
    assert (task["state"], world.ran()) == ("CANCELED", 0), task


async def cancel_running(world: World, rule: Rule) -> None:
    await world.start()
    task_id = await world.submit(ENDLESS)
    await world.until(lambda: world.ran() == 1)
    # A gateway that has heard from Batch of the runner's end has nothing to delete there.
    world.batch.faults.refusing("GET /jobs/{jobId}/tasks", times=None)
    await world.cancel(task_id)

    await killed(world, rule)
    world.batch.faults.lift()

    task = await world.ended(task_id)
    assert not await world.containers(task_id), "Canceled means that nothing runs."
    await world.leaves_nothing(task_id)
    assert (task["state"], world.ran()) == ("CANCELED", 1), task


async def preempted(world: World, rule: Rule) -> None:
    await world.start(BATCH_POOL_DEDICATED_NODE_COUNT=0)
    task_id = await world.submit("[ -e /tes-wd/shared-global/go ] || sleep 1000")
    await world.until(lambda: world.ran() == 1)
    (world.shared / "go").touch()
    [node] = [node for node in world.batch.nodes if node.runs]
    await world.batch.faults.preempt(node.id)

    await killed(world, rule)

    task = await world.ended(task_id)
    assert (task["state"], world.ran(), len(task["logs"])) == ("COMPLETE", 2, 2), task
    await world.leaves_nothing(task_id)


async def old_pool(world: World, rule: Rule) -> None:
    """A pool that was made with other settings goes when nothing runs there."""
    await world.start()
    first = await world.submit(name="first")
    await world.ended(first)
    [old] = await world.pools()
    await world.restart(BATCH_POOL_MIN_NODES=1)
    second = await world.submit(name="second")

    await killed(world, rule)

    third = await world.submit(name="third")
    for task_id, name in ((first, "first"), (second, "second"), (third, "third")):
        task = await world.ended(task_id)
        assert (task["state"], world.ran(name)) == ("COMPLETE", 1), task
        await world.leaves_nothing(task_id)
    await world.until(lambda: is_gone(world, old))


async def is_gone(world: World, pool: str) -> bool:
    pools = [each.id async for each in world.account.list_pools()]
    return pool not in pools and len(pools) == 1 and not any(job.startswith(pool) for job in await world.jobs())


Course = Callable[[World, Rule], Coroutine[Any, Any, None]]
COURSES: dict[str, Course] = {
    "run": run,
    "cancel waiting": cancel_waiting,
    "cancel running": cancel_running,
    "preempted": preempted,
    "old pool": old_pool,
}
