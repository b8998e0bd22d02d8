from __future__ import annotations

import pytest
from tesgw_local.capacity import Admission, Need

from tesgw import BackendRefused, Resources

SMALL, LARGE, NOTHING = Need(1, 1), Need(4, 8), Need()


def line(*needs: Need, most: int = 8) -> Admission:
    admission = Admission(Need(4, 8), most)
    for number, need in enumerate(needs):
        admission.wait(f"job-{number}", need)
    return admission


def admitted(admission: Admission) -> list[str]:
    return list(iter(admission.admit, None))


def test_what_asks_for_nothing_reserves_nothing() -> None:
    assert Need.of(Resources()) == NOTHING
    assert admitted(line(LARGE, NOTHING, NOTHING)) == ["job-0", "job-1", "job-2"]


def test_nobody_overtakes_who_waits_for_the_same() -> None:
    admission = line(SMALL, LARGE, SMALL)

    assert admitted(admission) == ["job-0"]
    admission.release("job-0", SMALL)
    assert admitted(admission) == ["job-1"]
    admission.release("job-1", LARGE)
    assert admitted(admission) == ["job-2"]


def test_who_asks_for_nothing_does_not_wait_for_who_asks_for_much() -> None:
    assert admitted(line(SMALL, LARGE, NOTHING)) == ["job-0", "job-2"]


def test_the_order_is_that_of_the_ids_and_not_of_the_arrival() -> None:
    admission = line()
    for job_id in ("c", "a", "b"):
        admission.wait(job_id, SMALL)

    assert admitted(admission) == ["a", "b", "c"]


def test_no_more_run_than_places() -> None:
    admission = line(NOTHING, NOTHING, NOTHING, most=2)

    assert admitted(admission) == ["job-0", "job-1"]
    admission.release("job-1", NOTHING)
    assert admitted(admission) == ["job-2"]


def test_one_that_leaves_the_line_holds_up_nobody() -> None:
    admission = line(LARGE, LARGE, SMALL)
    assert admitted(admission) == ["job-0"]

    admission.release("job-1", LARGE)
    admission.release("job-0", LARGE)

    assert admitted(admission) == ["job-2"]


def test_an_adopted_job_counts_although_nobody_admitted_it() -> None:
    admission = line(SMALL)
    admission.take("running", LARGE)

    assert admitted(admission) == []


@pytest.mark.parametrize("need", [Need(5, 0), Need(0, 9)])
def test_what_can_never_fit_is_refused_with_the_setting_to_change(need: Need) -> None:
    with pytest.raises(BackendRefused, match="LOCAL_CPU_CORES or LOCAL_RAM_GB"):
        line().check(need)


def test_what_fits_exactly_is_taken() -> None:
    line().check(LARGE)
    assert admitted(line(LARGE)) == ["job-0"]
