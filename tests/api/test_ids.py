from __future__ import annotations

import re
from datetime import UTC, datetime

from tesgw.api.ids import TaskIds


def test_ids_are_26_lower_case_letters_and_digits_that_sort_as_they_were_made() -> None:
    ids = TaskIds(lambda: datetime.now(UTC))

    made = [ids.new() for _ in range(10_000)]

    assert made == sorted(set(made))
    assert all(re.fullmatch("[a-z0-9]{26}", task_id) for task_id in made)


def test_a_clock_that_is_set_back_does_not_bring_new_tasks_before_old_ones() -> None:
    times = [datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]
    ids = TaskIds(lambda: times.pop(0))

    assert ids.new() < ids.new()
