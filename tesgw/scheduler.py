"""THE HEART: moves tasks from state to state, one step at a time.

`step` gives one task one move: submit, cancel or retire. `poll` looks at many jobs with one call. What a task needs is read
from its row, so any step may run twice, and a gateway that was killed carries on from the rows. `wake` and `changed` are
hints that make things prompt; the sweep and the periodic poll are the guarantee.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from tesgw import staging
from tesgw.backends import Backend
from tesgw.errors import BackendError, BackendFault, BackendRefused, BackendUnavailable
from tesgw.loops import WorkQueue, every
from tesgw.model import Handle, Observation
from tesgw.states import TERMINAL, State
from tesgw.store import Due, TaskStore

log = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0
POLL_SECONDS = 3.0
WORKERS = 16
BATCH = 200
MOST_ATTEMPTS = 4  # of a task that its backend preempts
MOST_FAULTS = 5  # of a backend in submitting one job
LONGEST_PAUSE = 60.0
GRACE_SECONDS = 10.0
LARGE = 1000  # inputs and outputs


class Scheduler:
    """Owns the loops that submit, poll, cancel and retire the tasks of a store at their backends."""

    def __init__(self, store: TaskStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._backends: dict[str, Backend] = {}
        self._queue = WorkQueue(self.step, workers=WORKERS)
        self._changed: dict[str, set[Handle]] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._seen: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def changed(self, backend: str, handle: Handle) -> None:
        """A backend's hint that this job is not as it was."""
        self._changed.setdefault(backend, set()).add(handle)
        self._news.setdefault(backend, asyncio.Event()).set()

    def wake(self, task_id: str) -> None:
        """A hint that this task wants a step."""
        self._queue.put(task_id)

    async def start(self, backends: Mapping[str, Backend]) -> None:
        """Start the loops. What was submitted before is submitted again, so that the backends adopt what runs."""
        self._backends = dict(backends)
        await self._store.reopen()
        self._spawn("steps", self._queue.run())
        self._spawn("sweep", every(SWEEP_SECONDS, self.sweep))
        for backend in self._backends.values():
            self._spawn(f"poll {backend.name}", every(POLL_SECONDS, partial(self.poll_all, backend)))
            news = self._news.setdefault(backend.name, asyncio.Event())
            # A poll for nothing: so a backend takes up what it has, or says that it cannot, although no task asks for it.
            self._spawn(f"first poll {backend.name}", self.poll(backend, []))
            self._spawn(f"news {backend.name}", every(POLL_SECONDS, partial(self.poll_changed, backend), wake=news))

    async def stop(self) -> None:
        """End the loops once the steps under way are done, or the grace is over: what is cut off is done after a start."""
        steps, *others = self._tasks
        await _cancelled(others)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._queue.idle()
        await _cancelled([steps])

    async def sweep(self) -> None:
        """Queue a step for every task that is due one, oldest first."""
        queued: set[str] = set()
        while due := {row.id: row for row in await self._store.due(self._now(), BATCH)}:
            for task_id in due:
                self._queue.put(task_id)
            # Those that are due again although they had their step will have another one with the next sweep.
            if len(due) < BATCH or due.keys() <= queued:
                return
            queued |= due.keys()
            await self._queue.idle()

    async def step(self, task_id: str) -> None:
        """Give the task the one move that its row asks for; nothing if it asks for none."""
        due = await self._store.due_one(task_id)
        if due is None:
            return
        backend = self._backends.get(due.backend)
        move = self._retire if due.state in TERMINAL else self._cancel if due.state is State.CANCELING else self._submit
        try:
            if backend is None:
                raise BackendUnavailable(f"The backend {due.backend!r} that holds this task is not loaded: see the log.")
            await move(due, backend)
        except BackendError as error:
            await self._put_off(due, error)

    async def poll_all(self, backend: Backend) -> None:
        """Poll every job that is not known to have ended, many with one call."""
        after = 0
        while True:
            handles, after = await self._store.handles(backend.name, after)
            if not handles:
                return
            await self.poll(backend, handles)

    async def poll_changed(self, backend: Backend) -> None:
        """Poll what the backend says has changed, all that came together with one call."""
        if changed := self._changed.pop(backend.name, None):
            await self.poll(backend, list(changed))

    async def poll(self, backend: Backend, handles: Sequence[Handle]) -> None:
        """Record how these jobs are, as far as it is news."""
        try:
            observations = await backend.poll(handles)
        except BackendError as error:
            log.warning("poll failed", extra={"backend": backend.name, "cause": str(error)})
            return
        prints = {o.handle.job_id: hash(msgspec.json.encode(o)) for o in observations}
        news = [o for o in observations if o.state in TERMINAL or self._seen.get(o.handle.job_id) != prints[o.handle.job_id]]
        await self._record(news)
        self._seen.update(prints)
        for observation in news:
            if observation.state in (State.UNKNOWN, State.PREEMPTED):
                await self._depart(observation, backend)

    async def _submit(self, due: Due, backend: Backend) -> None:
        task = await self._store.read(due.id)
        try:
            layout = await backend.filesystem_layout(task)
            # A task of a hundred thousand files takes a second to plan: the loop has others to serve meanwhile.
            is_large = len(task.inputs) + len(task.outputs) > LARGE
            job = await asyncio.to_thread(staging.plan, task, layout) if is_large else staging.plan(task, layout)
            handle = await backend.submit(job)
        except (BackendRefused, ValueError) as error:
            await self._end(due.job_id, State.SYSTEM_ERROR, str(error))
            return
        if not await self._store.submitted(handle):
            # Cancelled while we were submitting: what we just started must not outlive the task.
            await backend.cancel(handle)
            return
        log.info("task submitted", extra={"task": due.id, "job": handle.job_id, "backend": backend.name})

    async def _cancel(self, due: Due, backend: Backend) -> None:
        handle = Handle(due.job_id)
        await backend.cancel(handle)
        for observation in await backend.poll([handle]):
            if observation.state is State.UNKNOWN:
                await self._end(due.job_id, State.CANCELED)
                return
            if observation.state in TERMINAL:
                await self._record([dataclasses.replace(observation, state=State.CANCELED)])
                return
        await self._store.defer(due.id, self._now() + _pause(due.tries), due.tries + 1)

    async def _retire(self, due: Due, backend: Backend) -> None:
        await backend.cancel(Handle(due.job_id))
        await self._store.retired(due.id)
        self._seen.pop(due.job_id, None)

    async def _put_off(self, due: Due, error: BackendError) -> None:
        log.warning("step put off", extra={"task": due.id, "state": due.state, "tries": due.tries, "cause": str(error)})
        is_submit = due.state not in TERMINAL and due.state is not State.CANCELING
        if is_submit and isinstance(error, BackendFault) and due.tries + 1 >= MOST_FAULTS:
            await self._end(due.job_id, State.SYSTEM_ERROR, str(error))
            return
        if due.state is State.QUEUED and due.tries == 0:
            waiting = Observation(handle=Handle(due.job_id), state=State.QUEUED, reason=f"waiting for the backend: {error}")
            await self._store.record([waiting])
        await self._store.defer(due.id, self._now() + _pause(due.tries), due.tries + 1)

    async def _record(self, observations: Sequence[Observation]) -> None:
        plain = [o for o in observations if o.state not in (State.UNKNOWN, State.PREEMPTED)]
        for observation, took in zip(plain, await self._store.record(plain) if plain else (), strict=True):
            job_id = observation.handle.job_id
            if took and observation.state in TERMINAL:
                log.info("task ended", extra={"job": job_id, "state": observation.state})
            if observation.state in TERMINAL:
                # Also where it did not take: a job that ended while its task was being cancelled has to end as CANCELED.
                self.wake(_task_id(job_id))

    async def _depart(self, observation: Observation, backend: Backend) -> None:
        """Deal with a job that is gone: preempted ones are tried again, lost ones are not."""
        job_id = observation.handle.job_id
        if observation.state is State.UNKNOWN:
            reason = f"The backend {backend.name!r} no longer knows this job; what it did is lost. Submit the task again."
            await self._end(job_id, State.SYSTEM_ERROR, reason)
        elif int(job_id.rpartition("-")[2]) >= MOST_ATTEMPTS:
            await self._end(job_id, State.SYSTEM_ERROR, f"Preempted {MOST_ATTEMPTS} times: {observation.reason}")
        elif await self._store.retry(job_id, f"Preempted: {observation.reason}"):
            await backend.cancel(observation.handle)
            self.wake(_task_id(job_id))

    async def _end(self, job_id: str, state: State, reason: str = "") -> None:
        if await self._store.end(job_id, state, reason):
            log.info("task ended", extra={"job": job_id, "state": state, "reason": reason})
        self.wake(_task_id(job_id))

    def _spawn(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(loop, name=f"tesgw {name}"))


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _task_id(job_id: str) -> str:
    return job_id.rpartition("-")[0]


def _pause(tries: int) -> float:
    return float(min(2**tries, LONGEST_PAUSE))
