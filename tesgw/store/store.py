"""The store: writes go through one group writer; a read is one call, or part of one, and returns the bytes of the answer."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import msgspec
import orjson
import sqlalchemy as sa

from tesgw.errors import TaskNotFound
from tesgw.model import Dialect, Handle, MissingOutputs, Observation, Task, View
from tesgw.states import OPEN, State
from tesgw.store import documents, moves, queries
from tesgw.store.database import Database
from tesgw.store.gatherer import Gatherer
from tesgw.store.queries import TaskQuery
from tesgw.store.tables import fulls, tasks
from tesgw.store.uri import open_database
from tesgw.store.writer import Writer

_LARGE = 2**18  # characters of a document that is not decoded on the event loop


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task to be added. `document` is what views echo: checked, without nulls and what the gateway adds itself."""

    id: str
    created: dt.datetime
    backend: str
    document: Mapping[str, Any]
    missing_outputs: MissingOutputs
    warnings: tuple[str, ...] = ()
    """System logs known at the creation; every attempt shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A task that the scheduler has something to do for: submit it, cancel it, or retire it when it has ended."""

    id: str
    attempt: int
    state: State
    backend: str
    is_submitted: bool
    tries: int

    @property
    def job_id(self) -> str:
        """As `Task.job_id`."""
        return f"{self.id}-{self.attempt}"


_is_due = tasks.c.due.is_not(None)
_is_open = tasks.c.state.in_([sa.literal(str(state)) for state in sorted(OPEN)])
_DUE_COLUMNS = (tasks.c.id, tasks.c.attempt, tasks.c.state, tasks.c.backend, tasks.c.handle, tasks.c.tries)
_DUE_ONES = sa.select(*_DUE_COLUMNS).where(queries.is_asked_for(), _is_due)
_DUE = sa.select(*_DUE_COLUMNS).where(_is_due, tasks.c.due <= sa.bindparam("now"))
_DUE = _DUE.order_by(tasks.c.due, tasks.c.seq).limit(sa.bindparam("limit"))
_HANDLES = sa.select(tasks.c.seq, tasks.c.id, tasks.c.attempt, tasks.c.handle).where(
    tasks.c.backend == sa.bindparam("of_backend"), tasks.c.handle.is_not(None), tasks.c.seq > sa.bindparam("after"), _is_open
)
_HANDLES = _HANDLES.order_by(tasks.c.seq).limit(sa.bindparam("limit"))
_BACKENDS = sa.union(sa.select(tasks.c.backend).where(_is_due), sa.select(tasks.c.backend).where(_is_open))
_body = sa.func.substr(fulls.c.text, 1, fulls.c.body_end)
_TASKS = sa.select(tasks.c.id, tasks.c.attempt, tasks.c.missing_outputs, _body)
_TASKS = _TASKS.join_from(tasks, fulls, fulls.c.seq == tasks.c.seq).where(queries.is_asked_for())


class TaskStore:
    """Every method that changes something returns after its commit, and may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = Writer(database)
        self._answers = {key: Gatherer(database, queries.several(*key)) for key in product(View, Dialect)}
        self._due_ones = Gatherer(database, _DUE_ONES)
        self._tasks = Gatherer(database, _TASKS)

    @classmethod
    async def open(cls, uri: str) -> TaskStore:
        """Open the database that `uri` names, making or upgrading its tables. Raises `SettingsError`."""
        return cls(await open_database(uri))

    async def close(self) -> None:
        """Finish what is being written and give the database back. Later writes raise."""
        await self._writer.close()
        await self._database.close()

    # For clients

    async def add(self, new: NewTask) -> None:
        """Add the task as QUEUED and due; it survives whatever happens once this has returned."""
        await self._writer.write(moves.add, _rows(new))

    async def get(self, task_id: str, view: View, dialect: Dialect) -> bytes:
        """The JSON of the task, with all that was written before the call. Raises `TaskNotFound`."""
        row = await self._answers[view, dialect].get(task_id)
        answer: bytes = row[1]
        return answer

    async def page(self, query: TaskQuery) -> tuple[bytes, ...]:
        """The JSON of a `tesListTasksResponse`, in parts, newest first; the last page has no token. Raises `InvalidQuery`.

        Whoever follows the tokens sees every task that was there at the start exactly once, also while others are added.
        """
        if query.states() == ():
            return (b'{"tasks":[]}',)
        values = queries.values_of(query)
        counts = [await self._database.fetch_list(count, values) for count in queries.counts_of(query)]
        statement = queries.page_of(query, [count for ((count,),) in counts])
        [(found, last, tasks_json)] = await self._database.fetch_list(statement, values)
        token = b'],"next_page_token":"%b"}' % query.token(last).encode() if found > query.page_size else b"]}"
        return b'{"tasks":[', tasks_json or b"", token

    async def cancel(self, task_id: str) -> State:
        """Start to cancel the task, unless it has ended; returns its state after that. Raises `TaskNotFound`."""
        state = await self._writer.write(moves.cancel, task_id)
        if state is None:
            raise TaskNotFound(task_id)
        return state

    # For the scheduler

    async def reopen(self) -> None:
        """Forget the handles of open tasks, so that all of them are due."""
        await self._writer.write(moves.reopen, None)

    async def due(self, now: float, limit: int = 200) -> list[Due]:
        """Tasks with something to do at `now` (epoch seconds), the longest due first, then the oldest.

        These are open tasks that are not submitted, those being cancelled, and ended ones that are not retired.
        """
        rows = await self._database.fetch(_DUE, {"now": now, "limit": limit})
        return [_due(row) for row in rows]

    async def due_one(self, task_id: str) -> Due | None:
        """The same for one task, even if it was deferred."""
        try:
            return _due(await self._due_ones.get(task_id))
        except TaskNotFound:
            return None

    async def read(self, task_id: str) -> Task:
        """The current attempt at the task, to be run. Raises `TaskNotFound`."""
        _, attempt, missing_outputs, body = await self._tasks.get(task_id)
        own = orjson.dumps({"id": task_id, "attempt": attempt, "missing_outputs": missing_outputs}).decode()
        document = f"{{{body},{own[1:]}"
        if len(document) > _LARGE:
            return await asyncio.to_thread(msgspec.json.decode, document, type=Task)
        return msgspec.json.decode(document, type=Task)

    async def submitted(self, handle: Handle) -> bool:
        """Store the handle of the current attempt. False if nobody wants this job any more: cancel it.

        While the task is being cancelled that is False as well, although the handle is stored.
        """
        return await self._writer.write(moves.submitted, handle)

    async def handles(self, backend: str, after: int = 0, limit: int = 1000) -> tuple[list[Handle], int]:
        """Handles of open tasks, also of those being cancelled, and what to pass as `after` for the next ones."""
        rows = await self._database.fetch(_HANDLES, {"of_backend": backend, "after": after, "limit": limit})
        handles = [Handle(f"{task_id}-{attempt}", token) for _, task_id, attempt, token in rows]
        return handles, rows[-1][0] if rows else after

    async def backends_in_use(self) -> list[str]:
        """The backends that hold tasks which are open or not retired."""
        return sorted(backend for (backend,) in await self._database.fetch(_BACKENDS, {}))

    async def record(self, observations: Sequence[Observation]) -> list[bool]:
        """Record states and logs in one transaction; True where the observation took.

        It does so for the current attempt and from the states of `states.sources` only: nothing late undoes an end or a
        cancel. What ends is due at once.
        """
        return await self._writer.write(moves.record, observations)

    async def end(self, job_id: str, state: State, reason: str = "") -> bool:
        """End the task without an observation, guarded as `record` is; its logs so far are kept, the reason is added."""
        return await self._writer.write(moves.end, moves.Ending(job_id, state, reason, dt.datetime.now(dt.UTC)))

    async def retry(self, job_id: str, reason: str) -> bool:
        """End this attempt for that reason and queue another one; not if it is not current, over or being cancelled."""
        return await self._writer.write(moves.retry, moves.Ending(job_id, State.QUEUED, reason, dt.datetime.now(dt.UTC)))

    async def defer(self, task_id: str, until: float, tries: int) -> None:
        """If there is something to do for the task, it is not due before `until`."""
        await self._writer.write(moves.defer, (task_id, until, tries))

    async def retired(self, task_id: str) -> None:
        """Nothing is left to do for this ended task."""
        await self._writer.write(moves.retire, task_id)


def _rows(new: NewTask) -> moves.NewRows:
    body = documents.bodies(new.document, new.created)
    tail = documents.tail(1, documents.first_entry(new.warnings))
    task = {
        "id": new.id,
        "state": str(State.QUEUED),
        "name": new.document.get("name", ""),
        "backend": new.backend,
        "attempt": 1,
        "handle": None,
        "due": moves.NOW,
        "tries": 0,
        "missing_outputs": str(new.missing_outputs),
        "warnings": orjson.dumps(new.warnings).decode(),
    }
    return {
        "tasks": [task],
        "basics": [_text(body.basic, tail.basic)],
        "fulls": [_text(body.full, tail.full)],
        "tags": [{"key": key, "value": value} for key, value in new.document.get("tags", {}).items()],
    }


def _text(body: str, tail: str) -> dict[str, Any]:
    return {"body_end": len(body), "tail_start": len(body), "text": body + tail}


def _due(row: Sequence[Any]) -> Due:
    task_id, attempt, state, backend, handle, tries = row
    return Due(
        id=task_id, attempt=attempt, state=State(state), backend=backend, is_submitted=handle is not None, tries=tries
    )
