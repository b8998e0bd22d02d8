"""Resources: what a task asks for it gets, more it does not get, and what can never be is refused."""

from __future__ import annotations

from tesgw.conformance.case import Case
from tesgw.conformance.rules import rule
from tesgw.states import State


@rule()
async def test_modest_wishes_are_granted(case: Case) -> None:
    wishes = {"cpu_cores": 1, "ram_gb": 0.25, "disk_gb": 0.1, "preemptible": False, "zones": []}

    result = await case.run(case.sh("echo ok"), resources=wishes)

    assert result.state is State.COMPLETE
    assert result.stdout == "ok\n"


@rule()
async def test_memory_beyond_what_the_task_asked_for_fails_it_and_the_task_says_so(case: Case) -> None:
    greedy = case.sh("dd if=/dev/zero of=/dev/null bs=200M count=1 && echo got it")

    result = await case.run(greedy, case.step("b"), resources={"ram_gb": 0.05})

    assert result.state is State.EXECUTOR_ERROR
    assert result.executors[0].stdout == ""
    assert result.says("memory"), result.system_logs
    assert case.ran("b") == 0


@rule()
async def test_what_no_task_can_ever_get_is_refused_with_a_reason_and_nothing_runs(case: Case) -> None:
    impossible = case.harness.impossible()
    assert impossible, "The harness has to name something."
    for wish, amount in impossible.items():
        task = await case.submit(case.step("a"), resources={wish: amount})

        result = await case.world.ended(task)

        assert result.state is State.SYSTEM_ERROR, wish
        assert any(result.system_logs), f"A task that cannot get {wish} has to say so."
        assert result.executors == ()
        await case.world.forget(task)
        assert await case.cleared(task) == []
    assert case.ran("a") == 0


@rule(only="http")
async def test_a_backend_parameter_that_nobody_knows_is_ignored_with_a_warning(case: Case) -> None:
    result = await case.run(case.sh("true"), resources={"backend_parameters": {"no_such_parameter": "1"}})

    assert result.state is State.COMPLETE
    assert result.says("no_such_parameter", "ignored"), result.system_logs
