from __future__ import annotations

import datetime as dt
import re

import pytest
from tesgw_batch.autoscale import formula
from tesgw_batch.fake_batch.autoscale import FormulaError, evaluate

UNTIL = dt.datetime(2026, 11, 28, 9, 30, tzinfo=dt.UTC)
KNOWN = {
    *("$NodeDeallocationOption", "taskcompletion", "$PendingTasks", "GetSample", "GetSamplePercent", "TimeInterval_Second"),
    *("time", "min", "max", "$TargetDedicatedNodes", "$TargetLowPriorityNodes"),
}


def test_a_pool_has_a_node_for_each_task_within_its_limits() -> None:
    assert formula(is_spot=False, least=1, most=20, floor=5, until=UNTIL) == (
        "$NodeDeallocationOption = taskcompletion;\n"
        "span = TimeInterval_Second * 90;\n"
        'rising = time() < time("2026-11-28T09:30:00Z");\n'
        "floor = rising ? 5 : 0;\n"
        "percent = rising ? $PendingTasks.GetSamplePercent(span) : 100;\n"
        "pending = percent < 10 ? 0 : max($PendingTasks.GetSample(span, 10));\n"
        "$TargetDedicatedNodes = min(20, max(1, floor, pending));\n"
        "$TargetLowPriorityNodes = 0;\n"
    )


def test_a_spot_pool_has_spot_nodes_only() -> None:
    text = formula(is_spot=True, least=0, most=7, floor=2, until=UNTIL)

    assert "$TargetLowPriorityNodes = min(7, max(0, floor, pending));" in text
    assert "$TargetDedicatedNodes = 0;" in text


def test_the_floor_ends_at_the_same_moment_in_every_time_zone() -> None:
    elsewhere = UNTIL.astimezone(dt.timezone(dt.timedelta(hours=-7)))

    assert formula(is_spot=False, least=0, most=1, floor=1, until=elsewhere) == formula(
        is_spot=False, least=0, most=1, floor=1, until=UNTIL
    )


@pytest.mark.parametrize(
    ("waiting", "seconds", "nodes"),
    [
        (0, -60, 5),  # the samples do not know yet of what came
        (9, -60, 9),
        (30, -60, 20),
        (0, 60, 1),
        (3, 60, 3),
        (30, 60, 20),
    ],
)
def test_a_pool_follows_its_tasks_and_rises_to_the_floor_while_it_holds(waiting: int, seconds: int, nodes: int) -> None:
    text = formula(is_spot=False, least=1, most=20, floor=5, until=UNTIL)
    sizes = evaluate(text, {"$PendingTasks": float(waiting)}, UNTIL + dt.timedelta(seconds=seconds))

    assert (sizes.dedicated, sizes.low_priority, sizes.option) == (nodes, 0, "taskcompletion")


def test_a_pool_without_samples_rises_to_the_floor_and_later_stays_as_it_is() -> None:
    text = formula(is_spot=False, least=1, most=20, floor=5, until=UNTIL)

    assert evaluate(text, {}, UNTIL - dt.timedelta(seconds=1)).dedicated == 5
    with pytest.raises(FormulaError, match="pending"):
        evaluate(text, {}, UNTIL)


def test_a_pool_never_exceeds_its_most() -> None:
    text = formula(is_spot=True, least=9, most=4, floor=7, until=UNTIL)
    sizes = evaluate(text, {"$PendingTasks": 8.0}, UNTIL - dt.timedelta(seconds=1))

    assert (sizes.dedicated, sizes.low_priority) == (0, 4)


@pytest.mark.parametrize("is_spot", [False, True])
def test_a_formula_is_made_of_what_azure_documents(is_spot: bool) -> None:
    text = formula(is_spot=is_spot, least=0, most=100, floor=10**6, until=UNTIL)
    statements = text.split(";\n")
    names = {statement.split(" = ")[0] for statement in statements[:-1]}
    used = set(re.findall(r"\$?[A-Za-z_]+", re.sub(r'"[^"]*"', "", text)))

    assert len(text) < 8192
    assert statements[-1] == ""
    assert used <= KNOWN | names
