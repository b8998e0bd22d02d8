"""The language of autoscale formulas, as far as the double reads it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from tesgw_batch.fake_batch.autoscale import FormulaError, evaluate

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
FACTS = {
    "$PendingTasks": 5.0,
    "$ActiveTasks": 3.0,
    "$RunningTasks": 2.0,
    "$CurrentDedicatedNodes": 4.0,
    "$CurrentLowPriorityNodes": 1.0,
}


def dedicated(expression: str) -> int | None:
    return evaluate(f"$TargetDedicatedNodes = {expression};", FACTS, NOW).dedicated


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 / 2", 3),
        ("10 - 4 - 3", 3),
        ("-3 + 1", 0),
        ("1 < 2 ? 3 : 4", 3),
        ("1 > 2 ? 3 : 2 >= 2 ? 5 : 6", 5),
        ("1 == 1 && 2 != 2 || 1 <= 1 ? 1 : 0", 1),
        ("!(1 > 2) ? 1 : 0", 1),
        ("min(3, max(1, 2))", 2),
        ("round(avg(1, 2))", 2),
        ("max($PendingTasks.GetSample(1))", 5),
        ("min($ActiveTasks.GetSample(TimeInterval_Minute * 5, 60))", 3),
        ("avg($RunningTasks.GetSample(TimeInterval_Second * 90))", 2),
        ("$PendingTasks.GetSamplePercent(TimeInterval_Minute) < 70 ? 1 : 2", 2),
        ("$CurrentDedicatedNodes + $CurrentLowPriorityNodes", 5),
        ('time() - time("2026-11-28T11:00:00Z") > TimeInterval_Minute * 59 ? 1 : 0', 1),
        ("time() < time('2026-11-28T11:59:59') ? 1 : 0", 0),
        ("(time() - time('2026-11-28')) / TimeInterval_Hour", 12),
    ],
)
def test_an_expression_is_worth_what_azure_says(expression: str, expected: int) -> None:
    assert dedicated(expression) == expected


def test_names_are_assigned_and_used() -> None:
    formula = """
        // as in Azure's examples
        $NodeDeallocationOption = taskcompletion;
        lifespan = time() - time("2026-11-28T11:59:00Z");
        startup = TimeInterval_Minute * 2;
        $TargetLowPriorityNodes = (lifespan > startup ? min($PendingTasks.GetSample(TimeInterval_Second * 90, 10)) : 1);
    """
    sizes = evaluate(formula, FACTS, NOW)

    assert (sizes.dedicated, sizes.low_priority, sizes.option) == (None, 1, "taskcompletion")
    assert "$TargetLowPriorityNodes=1" in sizes.results.split(";")


@pytest.mark.parametrize(
    "formula",
    [
        "",
        "$TargetDedicatedNodes",
        "$TargetDedicatedNodes = ",
        "$TargetDedicatedNodes = 1 +;",
        "$TargetDedicatedNodes = (1;",
        "$TargetDedicatedNodes = 1 2;",
        "$TargetDedicatedNodes = unknown;",
        "$TargetDedicatedNodes = later; later = 1;",
        "$TargetDedicatedNodes = $PendingTasks;",
        "$TargetDedicatedNodes = $PendingTasks.GetSample();",
        "$TargetDedicatedNodes = $PendingTasks.Count(1);",
        "$TargetDedicated = 1;",
        "$PendingTasks = 1;",
        "$TargetDedicatedNodes = #;",
        "$TargetDedicatedNodes = TimeInterval_Minute;",
        "$TargetDedicatedNodes = 1 / 0;",
        "$TargetDedicatedNodes = 1; $NodeDeallocationOption = never;",
        "$TargetDedicatedNodes = min();",
        "$TargetDedicatedNodes = time('soon');",
        "$TargetDedicatedNodes = 1 + time();",
    ],
)
def test_what_azure_does_not_evaluate_is_an_error(formula: str) -> None:
    with pytest.raises(FormulaError):
        evaluate(formula, FACTS, NOW)


def test_samples_that_are_missing_are_an_error_but_can_be_asked_about() -> None:
    facts: dict[str, Any] = {}
    with pytest.raises(FormulaError):
        evaluate("$TargetDedicatedNodes = max($PendingTasks.GetSample(1));", facts, NOW)

    careful = "$PendingTasks.GetSamplePercent(1) < 70 ? 2 : max($PendingTasks.GetSample(1))"
    assert evaluate(f"$TargetDedicatedNodes = {careful};", facts, NOW).dedicated == 2
