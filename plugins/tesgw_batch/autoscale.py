"""How many nodes a pool wants, in Azure Batch's language for that
(https://learn.microsoft.com/azure/batch/batch-automatic-scaling). Pure."""

from __future__ import annotations

import datetime as dt

# Batch takes a sample each 30 s and shows it to formulas up to a minute later.
SPAN_SECONDS = 90
LEAST_PERCENT = 10


def formula(*, is_spot: bool, least: int, most: int, floor: int, until: dt.datetime) -> str:
    """A node for each task that waits or runs, within `least` and `most`; before `until` no less than `floor`, either.

    Nodes that run a task stay until it has ended. Where Batch has no samples the pool stays as it is.
    """
    wanted, other = ("LowPriority", "Dedicated") if is_spot else ("Dedicated", "LowPriority")
    time = until.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # GetSample fails where samples are missing, and with it the evaluation: the pool stays as it is. A pool that was just
    # made has none, but is to rise, so it asks first.
    return f"""\
$NodeDeallocationOption = taskcompletion;
span = TimeInterval_Second * {SPAN_SECONDS};
rising = time() < time("{time}");
floor = rising ? {floor} : 0;
percent = rising ? $PendingTasks.GetSamplePercent(span) : 100;
pending = percent < {LEAST_PERCENT} ? 0 : max($PendingTasks.GetSample(span, {LEAST_PERCENT}));
$Target{wanted}Nodes = min({most}, max({least}, floor, pending));
$Target{other}Nodes = 0;
"""
