"""The first pass: the backend asked through its hooks, as the scheduler asks it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tesgw.backends import Backend, Context, load_class
from tesgw.conformance.case import LOOK_SECONDS, Case, Result, World
from tesgw.conformance.files import FileServer
from tesgw.conformance.harness import Harness
from tesgw.errors import BackendFault, BackendRefused, BackendUnavailable
from tesgw.hookspecs import BackendSpec
from tesgw.model import Handle, Job, Observation, Task
from tesgw.settings import SETTINGS, of_values
from tesgw.staging import plan
from tesgw.states import MOVES, TERMINAL, State

T = TypeVar("T")


class HookWorld(World):
    """Submits what tests give it and polls all of it together, over and over, watching that the contract is kept."""

    def __init__(self, name: str, harness: Harness, directory: Path, files: FileServer) -> None:
        self.name, self.harness, self.directory, self.files = name, harness, directory, files
        self._spec: type[BackendSpec] = load_class(name)
        self.capabilities = self._spec.capabilities
        self.jobs: dict[str, Job] = {}
        self.handles: dict[str, Handle] = {}
        """By task, of all that were submitted and not yet forgotten."""
        self._seen: dict[str, Observation] = {}
        self._faults: dict[str, str] = {}
        self._canceled: set[str] = set()
        self.unavailable = ""
        self._polled = asyncio.Condition()
        self._polls = 0

    async def start(self) -> None:
        self.backend, self.context = self._make()
        self._polling = asyncio.create_task(self._poll_on())

    async def stop(self) -> None:
        self._polling.cancel()
        await asyncio.gather(self._polling, return_exceptions=True)
        await self.backend.close()

    def _make(self) -> tuple[Backend, Context]:
        settings = of_values((*SETTINGS, *self._spec.settings), self.harness.settings(self.directory))
        context = Context(self.name, settings, lambda handle: None)
        return Backend(self.name, self._spec(), context), context

    async def plan(self, document: Mapping[str, Any]) -> Job:
        """The job of a new task."""
        task = msgspec.convert({"id": secrets.token_hex(13), **document}, Task)
        return plan(task, await self.backend.filesystem_layout(task))

    async def submit(self, document: Mapping[str, Any]) -> str:
        task_id = await self.prepare(document)
        await self.submit_again(task_id)
        return task_id

    async def prepare(self, document: Mapping[str, Any]) -> str:
        """The id of a new task whose job is not submitted yet."""
        job = await self.plan(document)
        task_id = job.id.rpartition("-")[0]
        self.jobs[task_id] = job
        return task_id

    async def submit_again(self, task_id: str) -> None:
        """Submit the job of this task, also when it was before; the handle has to be the same."""
        try:
            handle = await self.submit_unheard(task_id)
        except BackendRefused as error:
            # The scheduler ends such a task with the reason.
            refused = Observation(handle=Handle(self.jobs[task_id].id), state=State.SYSTEM_ERROR, system_logs=(str(error),))
            self._seen[task_id] = refused
            return
        assert handle == self.handles.setdefault(task_id, handle), "A repeated submit has to answer with the same handle."

    async def submit_unheard(self, task_id: str) -> Handle:
        """Submit the job without polling it then: as if the answer were lost."""
        return await self._patiently(lambda: self.backend.submit(self.jobs[task_id]))

    async def look(self, task_id: str) -> Result:
        """As of a poll that began after this call."""
        if task_id in self.handles:
            await self._poll_done(2)
        return self._result(task_id)

    async def ended(self, task_id: str) -> Result:
        async with self._polled:
            await self._polled.wait_for(lambda: task_id in self._faults or self._is_over(task_id))
        return self._result(task_id)

    async def cancel(self, task_id: str) -> None:
        self._canceled.add(task_id)
        handle = Handle(self.jobs[task_id].id)  # without the token: it may never have arrived
        await self._patiently(lambda: self.backend.cancel(handle))

    async def forget(self, task_id: str) -> None:
        while task_id in self.handles and not self._is_over(task_id):
            await self.cancel(task_id)
            await self._poll_done(2)
        if self.handles.pop(task_id, None):
            await self.cancel(task_id)

    async def restart(self) -> None:
        async with self._polled:  # not in the middle of a poll of our own
            await self.backend.close()
            self.backend, self.context = self._make()
            for task_id in [task_id for task_id in self.handles if not self._is_over(task_id)]:
                if self._seen.get(task_id) and self._seen[task_id].state is not State.RUNNING:
                    del self._seen[task_id]  # what was done before the first executor may have to be done again
                await self.submit_again(task_id)

    def last_seen(self, task_id: str) -> str:
        seen = self._seen.get(task_id)
        hint = f" The backend said that it cannot answer: {self.unavailable}" if self.unavailable else ""
        return (f"{seen.state}, {seen.reason or seen.system_logs}" if seen else "never seen by a poll") + hint

    def observation(self, task_id: str) -> Observation | None:
        """What the last poll said."""
        return self._seen.get(task_id)

    def _is_over(self, task_id: str) -> bool:
        # UNKNOWN is kept only for what was cancelled.
        return task_id in self._seen and self._seen[task_id].state in (*TERMINAL, State.UNKNOWN)

    def _result(self, task_id: str) -> Result:
        assert task_id not in self._faults, self._faults[task_id]
        seen = self._seen.get(task_id) or Observation(handle=self.handles[task_id], state=State.QUEUED)
        logs = (*seen.system_logs, seen.reason) if seen.reason else seen.system_logs
        return Result(state=seen.state, executors=seen.executors, outputs=seen.outputs, system_logs=logs)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Asks again for as long as the backend says that it cannot answer now, as the scheduler does."""
        while True:
            try:
                return await call()
            except BackendFault:
                raise
            except BackendUnavailable as error:
                self.unavailable = str(error)
                await asyncio.sleep(LOOK_SECONDS)

    async def _poll_done(self, more: int) -> None:
        async with self._polled:
            wanted = self._polls + more
            await self._polled.wait_for(lambda: self._polls >= wanted)

    async def _poll_on(self) -> None:
        while True:
            async with self._polled:
                asked = dict(self.handles)
                if asked:
                    await self._poll(asked)
                self._polls += 1
                self._polled.notify_all()
            await asyncio.sleep(LOOK_SECONDS)

    async def _poll(self, asked: Mapping[str, Handle]) -> None:
        try:
            observations = await self.backend.poll(list(asked.values()))
        except BackendFault as error:
            self._faults |= dict.fromkeys(asked, str(error))
            return
        except BackendUnavailable as error:
            self.unavailable = str(error)
            return
        if not all(isinstance(each, Observation) for each in observations):
            self._faults |= dict.fromkeys(asked, f"A poll has to answer with observations, not {observations!r:.500}.")
            return
        by_job: dict[str, list[Observation]] = {}
        for observation in observations:
            by_job.setdefault(observation.handle.job_id, []).append(observation)
        for task_id, handle in asked.items():
            answers = by_job.get(handle.job_id, [])
            fault = _fault(self._seen.get(task_id), answers, task_id in self._canceled)
            if fault:
                self._faults.setdefault(task_id, fault)
            elif answers:
                self._seen[task_id] = answers[0]


def hooks_of(case: Case) -> HookWorld:
    """For rules of this pass alone."""
    assert isinstance(case.world, HookWorld)
    return case.world


def _fault(before: Observation | None, answers: list[Observation], is_canceled: bool) -> str:
    """What is wrong with these answers to a poll of one job, if anything is."""
    if len(answers) != 1:
        return f"A poll has to answer with one observation for each handle, not {len(answers)}."
    now = answers[0]
    if now.state is State.UNKNOWN:
        return "" if is_canceled else "A backend has to know every job that it took and that nobody has cancelled."
    if before is None or now.state is before.state:
        if before and before.state in TERMINAL and now != before:
            return f"A terminal observation has to stay as it is, but {before} became {now}."
        return ""
    if now.state not in MOVES.get(before.state, ()) and now.state not in (State.CANCELED, State.PREEMPTED):
        return f"States only go forward, but {before.state} became {now.state}."
    return f"{before.state} is terminal, but became {now.state}." if before.state in TERMINAL else ""
