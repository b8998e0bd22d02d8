"""The service behind the backend misbehaves: tasks wait or fail with a sentence; none is lost, doubled or made up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tesgw.backends import HOOK_SECONDS
from tesgw.capabilities import Capability
from tesgw.conformance.case import Case, Result
from tesgw.conformance.harness import Fault
from tesgw.conformance.rules import rule
from tesgw.conformance.through_hooks import HookWorld
from tesgw.errors import BackendFault, BackendRefused, BackendUnavailable
from tesgw.model import Handle
from tesgw.states import State

FAULT_SECONDS = 1.0


def _assert_told(result: Result) -> None:
    """A task may fail of a fault, if it says of what."""
    assert result.state in (State.COMPLETE, State.SYSTEM_ERROR), result
    assert result.state is State.COMPLETE or any(" " in log for log in result.system_logs), result


async def _answer(call: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """Whether a hook answers, or says in time and as it may that it cannot."""
    begun = time.monotonic()
    try:
        await call(*arguments)
    except BackendFault:
        raise
    except BackendUnavailable:
        pass
    assert time.monotonic() - begun < HOOK_SECONDS, "A hook answers before its deadline, if only that it cannot."


async def _ask(case: Case, task: str) -> None:
    """What the gateway asks while there is a fault. It asks by itself over HTTP."""
    if isinstance(case.world, HookWorld):
        handle = Handle(case.world.job_id(task))
        await _answer(case.world.backend.poll, [handle])
        await _answer(case.world.backend.cancel, handle)
    else:
        await case.world.cancel(task)


async def _submit(case: Case, *executors: Any) -> str:
    """Submit as often as it takes, without waiting for it."""
    if not isinstance(case.world, HookWorld):
        return await case.submit(*executors)
    task = case.own(await case.world.prepare({"executors": list(executors)}))
    with contextlib.suppress(BackendRefused):  # it will be again, when the answer counts
        await _answer(case.world.backend.submit, case.world.jobs[task])
    return task


async def _outlast(case: Case, fault: Fault) -> tuple[Result, Result]:
    """Go through a fault with one task that runs, one that is canceled and one that is submitted meanwhile."""
    running = await case.submit(case.step("running", is_held=True), case.step("after"))
    canceled = await case.submit(case.step("canceled", is_held=True))
    for name in ("running", "canceled"):
        await case.appears(name)
    async with case.harness.fault(fault):
        submitted = await _submit(case, case.step("submitted"))
        await _ask(case, canceled)
        await asyncio.sleep(FAULT_SECONDS)
    if isinstance(case.world, HookWorld):
        await case.world.submit_again(submitted)
    case.let_go("running")
    results = await case.world.ended(running), await case.world.ended(submitted)

    await case.world.forget(canceled)
    for result, names in zip(results, (("running", "after"), ("submitted",)), strict=True):
        _assert_told(result)
        wanted = (1,) if result.state is State.COMPLETE else (0, 1)
        assert all(case.ran(name) in wanted for name in names), "Nothing runs twice, and COMPLETE is said of what has run."
    for task in (running, canceled, submitted):
        await case.stopped(task)
    assert await case.cleared(canceled) == []
    return results


@rule(needs=Capability.SERVICE, alone=True)
async def test_a_slow_service_changes_nothing_but_the_time_it_takes(case: Case) -> None:
    results = await _outlast(case, Fault.SLOW)

    assert [result.state for result in results] == [State.COMPLETE, State.COMPLETE]


@rule(needs=Capability.SERVICE, alone=True)
async def test_a_throttling_service_fails_no_task_that_runs(case: Case) -> None:
    results = await _outlast(case, Fault.THROTTLED)

    assert results[0].state is State.COMPLETE


@rule(needs=Capability.SERVICE, alone=True)
async def test_a_refusing_service_fails_tasks_with_a_sentence_at_most(case: Case) -> None:
    await _outlast(case, Fault.REFUSING)


@rule(needs=Capability.SERVICE, alone=True)
async def test_a_service_that_is_away_for_a_while_fails_no_task(case: Case) -> None:
    results = await _outlast(case, Fault.DOWN)

    assert [result.state for result in results] == [State.COMPLETE, State.COMPLETE]


@rule(needs=Capability.SERVICE, alone=True)
async def test_a_backend_made_anew_while_its_service_is_away_takes_up_its_jobs_later(case: Case) -> None:
    task = await case.submit(case.step("a", is_held=True))
    await case.appears("a")

    async with case.harness.fault(Fault.DOWN):
        restarted = asyncio.create_task(case.world.restart())
        await asyncio.sleep(FAULT_SECONDS)
    await restarted
    case.let_go("a")
    result = await case.world.ended(task)

    assert result.state is State.COMPLETE
    assert case.ran("a") == 1
