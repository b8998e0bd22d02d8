"""Polling: one answer for each handle, and what was said of an end stays. The suite watches all polls of all tests, too."""

from __future__ import annotations

from collections.abc import Sequence

from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.conformance.through_hooks import hooks_of
from tesgw.model import Handle, Observation
from tesgw.states import State

MANY = 1000
"""The scheduler asks for as many at once."""


async def _polled(case: Case, *handles: Handle) -> Sequence[Observation]:
    return await hooks_of(case).backend.poll(handles)


@rule(only="hooks")
async def test_an_empty_poll_has_an_empty_answer(case: Case) -> None:
    assert list(await _polled(case)) == []


@rule(only="hooks")
async def test_each_handle_of_a_long_poll_gets_one_answer(case: Case) -> None:
    hooks = hooks_of(case)
    tasks = [await case.submit(case.sh(f"exit {code}")) for code in range(3)]
    for task in tasks:
        await hooks.ended(task)
    strangers = [Handle(f"nobody-submitted-{n}-1") for n in range(MANY - len(tasks))]
    mine = [hooks.handles[task] for task in tasks]

    found = {o.handle.job_id: o for o in await _polled(case, *strangers, *mine)}

    assert found.keys() == {handle.job_id for handle in (*strangers, *mine)}
    assert {found[handle.job_id].state for handle in strangers} == {State.UNKNOWN}
    assert [found[handle.job_id].executors[0].exit_code for handle in mine] == [0, 1, 2]


@rule(only="hooks")
async def test_the_first_terminal_observation_is_the_last_word(case: Case) -> None:
    """Whoever sees a terminal state takes what stands beside it for the whole."""
    hooks = hooks_of(case)
    output = {"path": "/tes-wd/out", "url": case.url("out")}
    task = await case.submit(case.sh("echo out; echo err >&2; echo 12345 >/tes-wd/out"), outputs=[output])
    await hooks.ended(task)

    first = hooks.observation(task)

    assert first
    assert (first.executors[0].stdout, first.executors[0].stderr, first.executors[0].exit_code) == ("out\n", "err\n", 0)
    assert [each.size_bytes for each in first.outputs] == [6]
    assert first.start_time
    assert first.end_time
    assert first.start_time <= first.end_time
    for _ in range(3):
        assert list(await _polled(case, hooks.handles[task])) == [first]


@rule(only="hooks")
async def test_what_was_released_is_unknown(case: Case) -> None:
    hooks = hooks_of(case)
    task = await case.submit(case.sh("true"))
    await hooks.ended(task)

    await hooks.cancel(task)

    await case.until(task, lambda seen: seen.state is State.UNKNOWN)
    assert await case.cleared(task) == []


@rule(only="hooks")
async def test_states_go_through_running_to_the_end(case: Case) -> None:
    """A task that runs says so, and says that it waits or makes ready before."""
    hooks = hooks_of(case)
    case.put("slow", b"input")
    case.hold("slow")
    task = await case.submit(case.step("a", is_held=True), inputs=[{"path": "/tes-wd/in", "url": case.url("slow")}])
    await case.held_up("slow")

    preparing = await hooks.look(task)
    case.release("slow")
    await case.appears("a")
    running = await case.until(task, lambda seen: seen.state is State.RUNNING)
    case.let_go("a")

    assert preparing.state in (State.QUEUED, State.INITIALIZING)
    assert preparing.executors == ()
    assert running.exit_codes == [None]
    assert (await hooks.ended(task)).state is State.COMPLETE
