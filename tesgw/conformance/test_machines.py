"""The machines that run jobs: which a task asks for, and what becomes of it when they are gone."""

from __future__ import annotations

from tesgw.capabilities import Capability
from tesgw.conformance.case import Case
from tesgw.conformance.harness import Fault
from tesgw.conformance.rules import rule
from tesgw.states import State

NOWHERE = "no-such-zone-1"


@rule(needs=Capability.ZONES)
async def test_a_task_runs_in_one_of_the_zones_that_it_asks_for(case: Case) -> None:
    assert case.harness.zones, "The harness has to have a zone."

    result = await case.run(case.step("a"), resources={"zones": [NOWHERE, case.harness.zones[0]]})

    assert result.state is State.COMPLETE
    assert case.ran("a") == 1


@rule(needs=Capability.ZONES)
async def test_a_task_that_asks_for_no_zone_there_is_fails_with_a_sentence(case: Case) -> None:
    result = await case.run(case.step("a"), resources={"zones": [NOWHERE]})

    assert result.state is State.SYSTEM_ERROR
    assert result.says("zone", NOWHERE), result
    assert case.ran("a") == 0


@rule(needs=Capability.NODES, alone=True, only="hooks")
async def test_a_task_whose_machine_is_lost_never_completes(case: Case) -> None:
    task = await case.submit(case.step("a", is_held=True), case.step("b"))
    await case.appears("a")
    ends = (State.PREEMPTED, State.SYSTEM_ERROR)

    async with case.harness.fault(Fault.NODE_LOST):
        result = await case.until(task, lambda seen: seen.state in ends)

    assert any(" " in log for log in result.system_logs), "A task says what became of it."
    await case.stopped(task)
    assert case.ran("b") == 0


@rule(needs=Capability.PREEMPTIBLE, alone=True, only="hooks")
async def test_a_task_whose_machine_is_taken_away_is_observed_as_preempted(case: Case) -> None:
    task = await case.submit(case.step("a", is_held=True), case.step("b"), resources={"preemptible": True})
    await case.appears("a")

    async with case.harness.fault(Fault.PREEMPTED):
        result = await case.until(task, lambda seen: seen.state is State.PREEMPTED)

    assert any(" " in log for log in result.system_logs), "A task says what became of it."
    await case.stopped(task)
    assert (case.ran("a"), case.ran("b")) == (1, 0)


@rule(needs=Capability.PREEMPTIBLE, alone=True, only="http")
async def test_a_preempted_task_is_run_again_from_its_beginning(case: Case) -> None:
    task = await case.submit(case.step("a", is_held=True), case.step("b"), resources={"preemptible": True})
    await case.appears("a")

    async with case.harness.fault(Fault.PREEMPTED):
        while await case.harness.running(case.world.job_id(task)):
            await case.world.look(task)
    case.let_go("a")
    result = await case.world.ended(task)

    assert result.state is State.COMPLETE, result
    assert (case.ran("a"), case.ran("b")) == (2, 1)
    assert result.exit_codes == [0, 0], "The last attempt's log is the last of the task's."


@rule(needs=Capability.PREEMPTIBLE, alone=True)
async def test_a_task_that_must_not_be_preempted_is_not(case: Case) -> None:
    task = await case.submit(case.step("a", is_held=True), resources={"preemptible": False})
    await case.appears("a")

    async with case.harness.fault(Fault.PREEMPTED):
        assert await case.harness.running(case.world.job_id(task)) == 1
    case.let_go("a")
    result = await case.world.ended(task)

    assert result.state is State.COMPLETE
    assert case.ran("a") == 1
