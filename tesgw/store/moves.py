"""The operations of the writer. Each change of a state is one UPDATE, guarded by the states it may come from.

Whether a row came back is the verdict: a late observation, or one of an earlier attempt, finds no row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from tesgw.model import Handle, Observation
from tesgw.states import OPEN, TERMINAL, State, sources
from tesgw.store import documents
from tesgw.store.database import Connection, Statement
from tesgw.store.documents import Shown
from tesgw.store.tables import basics, fulls, tags, tasks

NOW = 0.0
"""A time to be due that has always come."""


NewRows = Mapping[str, Sequence[Mapping[str, Any]]]
"""The rows of one new task in each table, without its number."""


@dataclass(frozen=True, slots=True)
class Ending:
    """An attempt that is to end without a last observation."""

    job_id: str
    to: State
    reason: str
    time: dt.datetime


_is_task = tasks.c.id == sa.bindparam("task")
_is_attempt = sa.and_(_is_task, tasks.c.attempt == sa.bindparam("of_attempt"))


def _in(states: frozenset[State]) -> sa.ColumnElement[bool]:
    return tasks.c.state.in_([sa.literal(str(state)) for state in sorted(states)])


_WORKING = OPEN - {State.CANCELING}


def _move(to: State) -> sa.Update:
    ended: dict[str, Any] = {"due": NOW, "tries": 0} if to in TERMINAL else {}
    move = sa.update(tasks).where(_is_attempt, _in(sources(to))).values(state=str(to), **ended)
    return move.returning(tasks.c.seq, tasks.c.warnings)


_MOVES = {to: _move(to) for to in State if sources(to)}
_AGAIN = {"state": str(State.QUEUED), "attempt": tasks.c.attempt + 1, "handle": None, "due": NOW, "tries": 0}
_RETRY = sa.update(tasks).where(_is_attempt, _in(_WORKING)).values(_AGAIN).returning(tasks.c.seq, tasks.c.warnings)
_CANCEL = sa.update(tasks).where(_is_task, _in(_WORKING)).values(state=str(State.CANCELING), due=NOW, tries=0)
_STATE = sa.select(tasks.c.state).where(_is_task)
# What is being cancelled stays due, so that the job that was just submitted is cancelled too.
_DUE = sa.case((tasks.c.state == str(State.CANCELING), tasks.c.due), else_=sa.null())
_SUBMITTED = sa.update(tasks).where(_is_attempt, _in(OPEN)).values(handle=sa.bindparam("token"), tries=0, due=_DUE)
_SUBMITTED = _SUBMITTED.returning(tasks.c.state)
_PUT_OFF: dict[str, Any] = {"due": sa.bindparam("until"), "tries": sa.bindparam("tried")}
_DEFER = sa.update(tasks).where(_is_task, tasks.c.due.is_not(None)).values(_PUT_OFF)
_RETIRE = sa.update(tasks).where(_is_task, _in(TERMINAL)).values(due=None, handle=None)
_REOPEN = sa.update(tasks).where(_in(OPEN)).values(handle=None, due=NOW, tries=0)
_INSERT = {table.name: sa.insert(table) for table in (tasks, basics, fulls, tags)}
_LAST = sa.select(sa.func.coalesce(sa.func.max(tasks.c.seq), 0))


def _both(make: Callable[[sa.Table], Statement]) -> tuple[Statement, Statement]:
    return make(basics), make(fulls)


def _is_row(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.seq == sa.bindparam("row")


def _with_tail(table: sa.Table, start: sa.ColumnElement[int]) -> sa.Update:
    text = sa.func.substr(table.c.text, 1, start, type_=sa.Text) + sa.bindparam("tail", type_=sa.Text)
    return sa.update(table).where(_is_row(table)).values(text=text, tail_start=start)


_READ_TAIL = _both(lambda table: sa.select(sa.func.substr(table.c.text, table.c.tail_start + 1)).where(_is_row(table)))
_SET_TAIL = _both(lambda table: _with_tail(table, table.c.tail_start))
# The tail of another attempt comes behind the entry of the last one, in place of the brackets that close it.
_ADD_TAIL = _both(lambda table: _with_tail(table, sa.func.length(table.c.text) - 2))


async def add(connection: Connection, new: Sequence[NewRows]) -> Sequence[None]:
    """Number the tasks in their order, after all there are, and insert their rows."""
    [(last,)] = await connection.fetch(_LAST, {})
    for table, insert in _INSERT.items():
        rows = [{"seq": seq, **row} for seq, task in enumerate(new, last + 1) for row in task[table]]
        if rows:
            await connection.execute_many(insert, rows)
    return [None] * len(new)


async def cancel(connection: Connection, task_ids: Sequence[str]) -> Sequence[State | None]:
    """Start to cancel the tasks that work; returns the states after it, None where there is no such task."""
    await connection.execute_many(_CANCEL, [{"task": task_id} for task_id in task_ids])
    found = [await connection.fetch(_STATE, {"task": task_id}) for task_id in task_ids]
    return [State(rows[0][0]) if rows else None for rows in found]


async def record(connection: Connection, batches: Sequence[Sequence[Observation]]) -> Sequence[list[bool]]:
    """Record the observations of each batch; True where one took."""
    tails: list[tuple[int, Shown]] = []
    verdicts = []
    for batch in batches:
        found = [await _observe(connection, observation) for observation in batch]
        tails += [tail for tail in found if tail is not None]
        verdicts.append([tail is not None for tail in found])
    await _write(connection, _SET_TAIL, tails)
    return verdicts


async def _observe(connection: Connection, observation: Observation) -> tuple[int, Shown] | None:
    move = _MOVES.get(observation.state)
    attempt = _attempt(observation.handle.job_id)
    rows = await connection.fetch(move, attempt) if move is not None else ()
    if not rows:
        return None
    [(seq, warnings)] = rows
    return seq, documents.tail(attempt["of_attempt"], documents.entry(observation, orjson.loads(warnings)))


async def end(connection: Connection, endings: Sequence[Ending]) -> Sequence[bool]:
    """End the attempts and their tasks; what their logs held is kept."""
    return [await _end(connection, _MOVES[ending.to], ending) is not None for ending in endings]


async def retry(connection: Connection, endings: Sequence[Ending]) -> Sequence[bool]:
    """End the attempts, and queue another attempt for each of their tasks."""
    return [await _retry(connection, ending) for ending in endings]


async def _end(connection: Connection, move: Statement, ending: Ending) -> tuple[int, str] | None:
    attempt = _attempt(ending.job_id)
    rows = await connection.fetch(move, attempt)
    if not rows:
        return None
    [(seq, warnings)] = rows
    [(basic,)], [(full,)] = [await connection.fetch(read, {"row": seq}) for read in _READ_TAIL]
    entry = documents.entry_of(attempt["of_attempt"], Shown(basic, full))
    tail = documents.tail(attempt["of_attempt"], documents.closed(entry, ending.time, ending.reason))
    await _write(connection, _SET_TAIL, [(seq, tail)])
    return seq, warnings


async def _retry(connection: Connection, ending: Ending) -> bool:
    ended = await _end(connection, _RETRY, ending)
    if ended is None:
        return False
    seq, warnings = ended
    tail = documents.tail(_attempt(ending.job_id)["of_attempt"] + 1, documents.first_entry(orjson.loads(warnings)))
    await _write(connection, _ADD_TAIL, [(seq, tail)])
    return True


async def _write(
    connection: Connection, statements: tuple[Statement, Statement], tails: Sequence[tuple[int, Shown]]
) -> None:
    if not tails:
        return
    basic, full = statements
    await connection.execute_many(basic, [{"row": seq, "tail": tail.basic} for seq, tail in tails])
    await connection.execute_many(full, [{"row": seq, "tail": tail.full} for seq, tail in tails])


async def submitted(connection: Connection, handles: Sequence[Handle]) -> Sequence[bool]:
    """Store the handles; True where the task still wants its job."""
    moves = [{"token": handle.token, **_attempt(handle.job_id)} for handle in handles]
    found = [await connection.fetch(_SUBMITTED, move) for move in moves]
    return [bool(rows) and rows[0][0] != State.CANCELING for rows in found]


async def defer(connection: Connection, deferrals: Sequence[tuple[str, float, int]]) -> Sequence[None]:
    """Put off what is to be done for (task, until, tries)."""
    await connection.execute_many(
        _DEFER, [{"task": task, "until": until, "tried": tries} for task, until, tries in deferrals]
    )
    return [None] * len(deferrals)


async def retire(connection: Connection, task_ids: Sequence[str]) -> Sequence[None]:
    """Note that nothing is left to do for these tasks."""
    await connection.execute_many(_RETIRE, [{"task": task_id} for task_id in task_ids])
    return [None] * len(task_ids)


async def reopen(connection: Connection, calls: Sequence[None]) -> Sequence[None]:
    """Make every open task due, and unsubmitted."""
    await connection.execute_many(_REOPEN, [{}])
    return calls


def _attempt(job_id: str) -> dict[str, Any]:
    """The values of `_is_attempt`; those of a name that is not one of ours fit no row."""
    task_id, _, attempt = job_id.rpartition("-")
    return {"task": task_id, "of_attempt": int(attempt) if attempt.isdecimal() else 0}
