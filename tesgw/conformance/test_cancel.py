"""Cancelling: whatever a task does, it stops for good, leaves nothing, and takes nobody with it."""

from __future__ import annotations

import asyncio

from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.conformance.through_hooks import hooks_of
from tesgw.states import State

ENDED = (State.CANCELED, State.UNKNOWN)
"""A backend may forget what was cancelled; the gateway does not."""


async def _assert_gone(case: Case, task: str) -> None:
    result = await case.world.ended(task)
    await case.stopped(task)

    assert result.state in ENDED
    assert await case.cleared(task) == []
    for _ in range(3):  # and stays so
        assert (await case.world.look(task)).state in ENDED
    assert await case.harness.running(case.world.job_id(task)) == 0


@rule()
async def test_cancel_ends_a_running_executor_and_no_other_one_follows(case: Case) -> None:
    task = await case.submit(
        case.sh(f"trap '' TERM; touch {case.shared_path}/begun; while :; do sleep 1; done"), case.step("b")
    )
    await case.appears("begun")
    await case.started(task)

    await case.world.cancel(task)

    await _assert_gone(case, task)
    assert case.ran("b") == 0


@rule()
async def test_cancel_ends_the_fetching_of_inputs(case: Case) -> None:
    case.put("slow", b"input")
    case.hold("slow")
    task = await case.submit(case.step("a"), inputs=[{"path": "/tes-wd/in", "url": case.url("slow")}])
    await case.held_up("slow")

    await case.world.cancel(task)

    await _assert_gone(case, task)
    assert case.ran("a") == 0


@rule()
async def test_cancel_ends_the_delivery_of_outputs(case: Case) -> None:
    case.hold("out")
    task = await case.submit(case.sh("echo out >/tes-wd/out"), outputs=[{"path": "/tes-wd/out", "url": case.url("out")}])
    await case.held_up("out")

    await case.world.cancel(task)

    await _assert_gone(case, task)
    assert case.delivered == {}


@rule()
async def test_cancel_wins_at_whatever_moment_it_comes(case: Case) -> None:
    """Between the submit and the first executor's start there are many moments; each has to be right."""
    tasks = [await case.submit(case.sh("sleep 600")) for _ in range(5)]

    async def cancel(number: int, task: str) -> None:
        await asyncio.sleep(0.15 * number)
        await case.world.cancel(task)

    await asyncio.gather(*(cancel(number, task) for number, task in enumerate(tasks)))

    for task in tasks:
        await _assert_gone(case, task)


@rule()
async def test_cancel_of_what_has_ended_changes_nothing(case: Case) -> None:
    task = await case.submit(
        case.sh("echo out; echo kept >/tes-wd/out"), outputs=[{"path": "/tes-wd/out", "url": case.url("out")}]
    )
    before = await case.world.ended(task)

    await case.world.cancel(task)
    await case.world.cancel(task)

    assert before.state is State.COMPLETE
    assert await case.cleared(task) == []
    assert case.delivered == {"out": b"kept\n"}
    assert (await case.world.look(task)).state in (State.COMPLETE, State.UNKNOWN)


@rule(only="http")
async def test_a_task_that_has_ended_is_told_as_before_after_a_cancel(case: Case) -> None:
    task = await case.submit(case.sh("echo out; exit 5"))
    before = await case.world.ended(task)

    await case.world.cancel(task)

    assert await case.world.look(task) == before


@rule(only="hooks")
async def test_cancel_needs_neither_a_job_nor_the_answer_to_its_submit(case: Case) -> None:
    """A gateway that was killed while it submitted knows nothing but the id."""
    hooks = hooks_of(case)
    task = case.own(await hooks.prepare({"executors": [case.step("a", is_held=True)]}))
    for _ in range(2):
        await hooks.cancel(task)
    await hooks.submit_unheard(task)
    await case.appears("a")

    for _ in range(2):
        await hooks.cancel(task)

    await case.stopped(task)
    assert await case.cleared(task) == []


@rule()
async def test_cancel_takes_nothing_from_others(case: Case) -> None:
    canceled = await case.submit(case.step("a", is_held=True), name="canceled")
    other = await case.submit(case.step("b", is_held=True), name="other")
    await case.appears("a")
    await case.appears("b")

    await case.world.cancel(canceled)
    await _assert_gone(case, canceled)
    case.let_go("b")
    result = await case.world.ended(other)

    assert result.state is State.COMPLETE
    assert (case.ran("a"), case.ran("b")) == (1, 1), "What tasks write to the shared directory outlives them."
