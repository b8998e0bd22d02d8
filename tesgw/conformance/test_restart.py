"""A gateway that is stopped in the middle of everything and started again: tasks do not notice."""

from __future__ import annotations

from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.states import State


@rule(alone=True)
async def test_a_running_executor_goes_on_over_a_restart_and_what_ran_before_is_kept(case: Case) -> None:
    first = case.sh(f"echo ran >>{case.shared_path}/a; echo first; exit 3", ignore_error=True)
    task = await case.submit(first, case.step("b", is_held=True), case.step("c"))
    await case.appears("b")
    before = await case.until(task, lambda seen: len(seen.executors) == 2)

    await case.world.restart()
    case.let_go("b")
    result = await case.world.ended(task)

    assert result.state is State.COMPLETE
    assert [case.ran(name) for name in "abc"] == [1, 1, 1]
    assert result.exit_codes == [3, 0, 0]
    assert result.executors[0] == before.executors[0]
    assert result.executors[0].stdout == "first\n"


@rule(alone=True)
async def test_an_executor_that_ends_while_there_is_no_gateway_is_not_lost(case: Case) -> None:
    first = case.step("a", is_held=True)
    first["command"][-1] += "; sleep 0.5; echo done; exit 7"
    task = await case.submit(first, case.step("b"))
    await case.appears("a")
    await case.until(task, lambda seen: seen.state is State.RUNNING)

    case.let_go("a")
    await case.world.restart()
    result = await case.world.ended(task)

    assert result.state is State.EXECUTOR_ERROR
    assert result.exit_codes == [7]
    assert result.stdout == "done\n"
    assert case.ran("b") == 0


@rule(alone=True)
async def test_what_was_submitted_just_before_a_restart_runs_once(case: Case) -> None:
    tasks = [await case.submit(case.step(f"a{n}"), case.step(f"b{n}")) for n in range(5)]

    await case.world.restart()
    await case.world.restart()
    results = [await case.world.ended(task) for task in tasks]

    assert [result.state for result in results] == [State.COMPLETE] * 5
    assert [(case.ran(f"a{n}"), case.ran(f"b{n}")) for n in range(5)] == [(1, 1)] * 5


@rule(alone=True)
async def test_inputs_and_outputs_under_way_arrive_whole_after_a_restart(case: Case) -> None:
    content = b"0123456789" * 10_000
    case.put("in", content)
    for name in ("in", "out"):
        case.hold(name)
    task = await case.submit(
        case.sh(f"cp /tes-wd/in /tes-wd/out; echo ran >>{case.shared_path}/a"),
        inputs=[{"path": "/tes-wd/in", "url": case.url("in")}],
        outputs=[{"path": "/tes-wd/out", "url": case.url("out")}],
    )

    for name in ("in", "out"):
        await case.held_up(name)
        await case.world.restart()
        case.release(name)
    result = await case.world.ended(task)

    assert result.state is State.COMPLETE
    assert case.delivered == {"out": content}
    assert [each.size_bytes for each in result.outputs] == [len(content)]
    assert case.ran("a") == 1


@rule(alone=True)
async def test_after_a_restart_what_has_ended_stays_and_what_runs_can_be_canceled(case: Case) -> None:
    ended = await case.submit(case.sh("echo out; exit 2"))
    running = await case.submit(case.step("a", is_held=True))
    before = await case.world.ended(ended)
    await case.appears("a")

    await case.world.restart()
    after = await case.world.look(ended)
    await case.world.cancel(running)
    await case.world.ended(running)

    assert after == before
    await case.stopped(running)
    assert await case.cleared(running) == []
