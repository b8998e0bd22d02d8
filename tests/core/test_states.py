from __future__ import annotations

import pytest

from tesgw.states import MOVES, OPEN, TERMINAL, State, sources


def test_nothing_leaves_a_terminal_state() -> None:
    assert not TERMINAL & set(MOVES)
    assert not any(TERMINAL & sources(state) for state in (State.QUEUED, State.RUNNING, State.CANCELING))


@pytest.mark.parametrize("late", sorted(set(State) - {State.CANCELED}))
def test_what_is_being_cancelled_ends_as_canceled_whatever_comes_late(late: State) -> None:
    assert State.CANCELING not in sources(late)


def test_states_only_go_forward() -> None:
    assert sources(State.QUEUED) == {State.QUEUED}
    assert sources(State.INITIALIZING) == {State.QUEUED, State.INITIALIZING}
    assert sources(State.RUNNING) == {State.QUEUED, State.INITIALIZING, State.RUNNING}


def test_every_open_state_can_end() -> None:
    assert all(MOVES[state] & TERMINAL for state in OPEN)


@pytest.mark.parametrize("resting", [State.PREEMPTED, State.PAUSED, State.UNKNOWN])
def test_no_task_comes_to_rest_where_engines_wait_for_ever(resting: State) -> None:
    assert not sources(resting)
