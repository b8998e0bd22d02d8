"""The jobs of this machine: those that wait for capacity, those that run, and those that ended but are not yet retired.

A job is durable once `submit` returns: its document lies in its directory, where a restarted gateway finds it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from tesgw import BackendContext, BackendError, BackendRefused, BackendUnavailable, Handle, Job, Observation, State
from tesgw.loops import every
from tesgw.runner import Runner, World, discard, sweep
from tesgw.states import TERMINAL
from tesgw_local.capacity import Admission, Need
from tesgw_local.world import make_admission, make_world

SWEEP_SECONDS = 300.0


@dataclass(slots=True)
class Entry:
    """One job. It waits until it has a runner; `ended` is its last word if the runner cannot say it."""

    need: Need
    kept: asyncio.Event
    """Set once the job's document is on the disk."""
    runner: Runner | None = None
    running: asyncio.Task[None] | None = None
    is_cancelled: bool = False
    ended: Observation | None = None


class Yard:
    """All jobs of one local backend."""

    def __init__(self, ctx: BackendContext, world: World, admission: Admission) -> None:
        self._ctx = ctx
        self._world = world
        self._admission = admission
        self._entries: dict[str, Entry] = {}

    @classmethod
    async def open(cls, ctx: BackendContext) -> Yard:
        """Connect to the engine and take up the jobs that lie in the work directory."""
        world = await make_world(ctx)
        yard = cls(ctx, world, make_admission(ctx, world))
        await yard._take_up()
        ctx.spawn(every(SWEEP_SECONDS, partial(sweep, world, yard._entries.__contains__)), name="sweep of left containers")
        return yard

    async def submit(self, job: Job) -> Handle:
        """Take the job; BackendRefused if it can never fit."""
        handle = Handle(job.id)
        if job.id not in self._entries:
            need = Need.of(job.resources)
            self._admission.check(need)
            # In line before it is written: writing takes longer for some than for others, and the order has to hold.
            entry = self._entries[job.id] = Entry(need, asyncio.Event())
            self._admission.wait(job.id, need)
            try:
                await asyncio.to_thread(_keep, self._document(job.id), msgspec.json.encode(job))
            except BaseException as error:
                self._forget(job.id)
                if isinstance(error, OSError):
                    raise _unwritable(error, self._world.work_dir) from error
                raise
            entry.kept.set()
            self._admit()
            if not entry.running:
                self._ctx.changed(handle)  # the reason why it waits is news
        return handle

    def observe(self, handle: Handle) -> Observation:
        """How the job is, from memory."""
        entry = self._entries.get(handle.job_id)
        if entry is None:
            return Observation(handle=handle, state=State.UNKNOWN)
        if entry.ended:
            return entry.ended
        if entry.runner is None:
            return Observation(handle=handle, state=State.QUEUED, reason=self._admission.reason(entry.need))
        return entry.runner.observe()

    async def cancel(self, handle: Handle) -> None:
        """End the job in the background, or forget it if it has ended."""
        entry = self._entries.get(handle.job_id)
        if entry is None or (entry.is_cancelled and not entry.ended):
            return
        if self.observe(handle).state not in TERMINAL:
            entry.is_cancelled = True
            self._ctx.spawn(self._stop(handle, entry), name=f"cancel {handle.job_id}")
            return
        if entry.running:
            await asyncio.wait([entry.running])
        await discard(self._world, handle.job_id)
        self._forget(handle.job_id)

    async def have(self, image: str, report: Callable[[str], None]) -> None:
        """Pull the image if it is missing; BackendUnavailable with the registry's answer if it cannot be had."""
        engine = self._world.engine
        try:
            if await engine.image_id(image) is None:
                report(f"pulling {image}")
                await engine.pull(image)
        except Exception as error:
            raise BackendUnavailable(str(error)) from error

    async def _take_up(self) -> None:
        for document in sorted((self._world.work_dir / "jobs").glob("*/job.json")):
            try:
                job = msgspec.json.decode(document.read_bytes(), type=Job)
            except msgspec.DecodeError:  # cut short by a power failure: the gateway submits the job again
                self._ctx.log.warning("job document cannot be read", extra={"document": document})
                continue
            entry = self._entries[job.id] = Entry(Need.of(job.resources), asyncio.Event())
            entry.kept.set()
            if document.with_name("status.json").exists():
                self._admission.take(job.id, entry.need)
                entry.runner = self._runner(job)  # before anybody asks: what runs must not look as if it waited
                self._begin(job.id, entry)
            else:
                self._admission.wait(job.id, entry.need)
        self._admit()

    def _admit(self) -> None:
        while job_id := self._admission.admit():
            self._begin(job_id, self._entries[job_id])

    def _begin(self, job_id: str, entry: Entry) -> None:
        entry.running = self._ctx.spawn(self._run(job_id, entry), name=f"run {job_id}")

    async def _run(self, job_id: str, entry: Entry) -> None:
        await entry.kept.wait()
        try:
            if entry.runner is None:
                document = await asyncio.to_thread(self._document(job_id).read_bytes)
                entry.runner = self._runner(msgspec.json.decode(document, type=Job))
            await entry.runner.run()
        except Exception as error:
            self._ctx.log.exception("runner failed", extra={"job": job_id})
            last = self.observe(Handle(job_id))
            if last.state not in TERMINAL:  # else only the tidying failed, which `cancel` does again
                entry.ended = _closed(last, State.SYSTEM_ERROR, f"The runner failed: {error}. The gateway's log says more.")
        self._leave(job_id, entry)

    def _runner(self, job: Job) -> Runner:
        return Runner(job, self._world, partial(self._ctx.changed, Handle(job.id)))

    async def _stop(self, handle: Handle, entry: Entry) -> None:
        if entry.running:
            entry.running.cancel()
            await asyncio.wait([entry.running])
        try:
            await discard(self._world, handle.job_id)
        except Exception:
            entry.is_cancelled = False  # it will be asked for again
            raise
        entry.ended = _closed(self.observe(handle), State.CANCELED, "Canceled.")
        self._leave(handle.job_id, entry)

    def _leave(self, job_id: str, entry: Entry) -> None:
        self._admission.release(job_id, entry.need)
        self._ctx.changed(Handle(job_id))
        self._admit()

    def _forget(self, job_id: str) -> None:
        if entry := self._entries.pop(job_id, None):
            self._admission.release(job_id, entry.need)

    def _document(self, job_id: str) -> Path:
        return self._world.work_dir / "jobs" / job_id / "job.json"


def _keep(document: Path, content: bytes) -> None:
    document.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial_document = document.with_suffix(".part")
    partial_document.write_bytes(content)
    partial_document.rename(document)


def _unwritable(error: OSError, work_dir: Path) -> BackendError:
    sentence = f"LOCAL_WORK_DIR={work_dir} cannot be written: {error.strerror}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BackendRefused(f"{sentence} Whoever runs this gateway has to make room; then submit the task again.")
    return BackendUnavailable(sentence)


def _closed(last: Observation, state: State, reason: str) -> Observation:
    """The last word on a job whose runner did not get to say it."""
    now = datetime.now(UTC)
    return dataclasses.replace(last, state=state, end_time=now, reason="", system_logs=(*last.system_logs, reason))
