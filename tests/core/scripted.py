"""A backend that does what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tesgw import BackendContext, BackendSpec, Handle, Job, Layout, Observation, State, Task, hookimpl


@dataclass
class Script:
    """`states` by job id is what poll answers (UNKNOWN otherwise); `errors` by hook is raised, once each, first first."""

    observations: dict[str, Observation] = field(default_factory=dict)
    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    on_submit: Callable[[Job], Any] | None = None
    on_cancel: State | None = State.CANCELED
    polls: list[int] = field(default_factory=list)

    def says(self, job_id: str, state: State, **fields: Any) -> None:
        """From now on this job is in this state."""
        self.observations[job_id] = Observation(handle=Handle(job_id), state=state, **fields)

    def count(self, hook: str) -> int:
        return sum(1 for called, _ in self.calls if called == hook)

    def called(self, hook: str, job_id: str) -> None:
        self.calls.append((hook, job_id))
        if self.errors.get(hook):
            raise self.errors[hook].pop(0)


class ScriptedBackend(BackendSpec):
    def __init__(self, script: Script) -> None:
        self.script = script

    @hookimpl
    async def filesystem_layout(self, ctx: BackendContext, task: Task) -> Layout:
        return Layout()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        self.script.called("submit", job.id)
        if self.script.on_submit:
            await self.script.on_submit(job)
        self.script.observations.setdefault(job.id, Observation(handle=Handle(job.id), state=State.QUEUED))
        return Handle(job.id)

    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        self.script.called("poll", "")
        self.script.polls.append(len(handles))
        unknown = [Observation(handle=handle, state=State.UNKNOWN) for handle in handles]
        return [self.script.observations.get(o.handle.job_id, o) for o in unknown]

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        self.script.called("cancel", handle.job_id)
        if self.script.on_cancel and handle.job_id in self.script.observations:
            self.script.says(handle.job_id, self.script.on_cancel)

    @hookimpl
    async def provision(
        self, ctx: BackendContext, request: Mapping[str, Any], report: Callable[[str], None]
    ) -> Mapping[str, str]:
        return {}
