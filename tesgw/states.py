"""The task states of TES 1.1 and the only table of legal moves between them."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """`tesState` of the TES 1.1 specification, word for word."""

    UNKNOWN = "UNKNOWN"
    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"
    PREEMPTED = "PREEMPTED"
    CANCELING = "CANCELING"


TERMINAL = frozenset({State.COMPLETE, State.EXECUTOR_ERROR, State.SYSTEM_ERROR, State.CANCELED})

_ENDS = TERMINAL - {State.CANCELED}

# From a state to those it may move to. A state may also be recorded again (its logs grew) unless it is terminal.
# A task never rests in PREEMPTED, PAUSED or UNKNOWN: engines in the field wait for ever on them.
MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.QUEUED, State.INITIALIZING, State.RUNNING, State.CANCELING}) | _ENDS,
    State.INITIALIZING: frozenset({State.INITIALIZING, State.RUNNING, State.CANCELING}) | _ENDS,
    State.RUNNING: frozenset({State.RUNNING, State.CANCELING}) | _ENDS,
    # What is being cancelled ends as CANCELED, whatever its last observation says.
    State.CANCELING: frozenset({State.CANCELED}),
}

OPEN = frozenset(MOVES)


def sources(to: State) -> frozenset[State]:
    """The states from which a task may move to `to`."""
    return frozenset(state for state, targets in MOVES.items() if to in targets)


# TES 1.0 has no CANCELING and no PREEMPTED; its clients raise on words they do not know.
TES_1_0 = {State.CANCELING: State.CANCELED, State.PREEMPTED: State.SYSTEM_ERROR}
