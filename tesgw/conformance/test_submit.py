"""Submitting: once is enough, and again does nothing."""

from __future__ import annotations

import asyncio

import msgspec

from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.conformance.through_hooks import hooks_of
from tesgw.model import Handle
from tesgw.states import State


@rule(only="hooks")
async def test_submit_answers_before_the_job_has_run_and_with_a_handle_that_can_be_kept(case: Case) -> None:
    hooks = hooks_of(case)
    task = case.own(await hooks.prepare({"executors": [case.step("a", is_held=True)]}))

    handle = await hooks.backend.submit(hooks.jobs[task])

    assert handle.job_id == hooks.jobs[task].id
    assert isinstance(handle.token, str)
    assert msgspec.json.decode(msgspec.json.encode(handle), type=Handle) == handle
    await hooks.submit_again(task)
    case.let_go("a")
    assert hooks.handles[task] == handle
    assert (await hooks.ended(task)).state is State.COMPLETE
    assert case.ran("a") == 1


@rule(only="hooks")
async def test_a_job_submitted_twice_at_the_same_time_runs_once(case: Case) -> None:
    hooks = hooks_of(case)
    task = case.own(await hooks.prepare({"executors": [case.step("a"), case.step("b")]}))

    await asyncio.gather(*(hooks.submit_again(task) for _ in range(3)))
    result = await hooks.ended(task)

    assert result.state is State.COMPLETE
    assert (case.ran("a"), case.ran("b")) == (1, 1)


@rule(only="hooks")
async def test_a_job_submitted_again_while_it_runs_goes_on_as_it_is(case: Case) -> None:
    hooks = hooks_of(case)
    task = await case.submit(case.step("a"), case.step("b", is_held=True))
    await case.appears("b")

    await hooks.submit_again(task)
    case.let_go("b")
    result = await hooks.ended(task)

    assert result.state is State.COMPLETE
    assert (case.ran("a"), case.ran("b")) == (1, 1)


@rule(only="hooks")
async def test_a_job_submitted_again_after_its_end_stays_ended(case: Case) -> None:
    hooks = hooks_of(case)
    task = await case.submit(case.step("a"), case.sh("exit 4"))
    result = await hooks.ended(task)

    await hooks.submit_again(task)

    assert result.exit_codes == [0, 4]
    assert await hooks.look(task) == result
    await case.stopped(task)
    assert case.ran("a") == 1
