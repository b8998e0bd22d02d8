"""The jobs of this machine, from the gateway's side. The truth lies in their directories:

`job.json`, the job; `status.json`, how far it is, written by its supervisor; `canceled`, if it is to end; and `lock`, held
as long as a supervisor lives: whoever starts one hands it over. All that the yard remembers, it finds there again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path

import msgspec

from tesgw import BackendContext, BackendUnavailable, Handle, Job, Observation, State
from tesgw.loops import every
from tesgw.runner.removal import remove_tree
from tesgw.runner.world import JobDir
from tesgw.states import TERMINAL
from tesgw_process.capacity import Capacity, Need
from tesgw_process.machine import Machine
from tesgw_process.nursery import Nursery

TICK_SECONDS = 0.2
MOST_BEGINNINGS = 3


class Phase(Enum):
    WAITING = auto()
    RUNNING = auto()
    ENDED = auto()


@dataclass(slots=True)
class Entry:
    """One job."""

    need: Need
    phase: Phase = Phase.WAITING
    beginnings: int = 0
    seen_at: int = 0
    """When the status was written that the gateway was told of last."""


class Yard:
    """All jobs of one backend."""

    def __init__(self, ctx: BackendContext, machine: Machine) -> None:
        self._ctx = ctx
        self._machine = machine
        self._nursery = Nursery(machine)
        self._capacity = Capacity()
        self._entries: dict[str, Entry] = {}

    @classmethod
    def open(cls, ctx: BackendContext, machine: Machine) -> Yard:
        """Take up the jobs that lie in the work directory."""
        machine.make()
        yard = cls(ctx, machine)
        for directory in (machine.work_dir / "jobs").iterdir():
            yard._take_up(directory)
        for directory in (machine.work_dir / "forgotten").iterdir():
            ctx.spawn(asyncio.to_thread(remove_tree, directory), name=f"remove {directory.name}")
        ctx.spawn(every(TICK_SECONDS, yard._tick), name="look after jobs")
        ctx.on_close(yard._nursery.close)
        return yard

    def _take_up(self, directory: Path) -> None:
        try:
            need = Need.of(msgspec.json.decode((directory / "job.json").read_bytes(), type=Job).resources)
        except (FileNotFoundError, msgspec.DecodeError):  # half written: it is going to be submitted again
            return
        self._entries[directory.name] = Entry(need, Phase.RUNNING)  # the first tick sees if it is not

    def submit(self, job: Job) -> Handle:
        """Take the job; BackendRefused if it can never fit."""
        if job.id not in self._entries:
            need = Need.of(job.resources)
            self._capacity.check(need)
            try:
                _keep(self._dir(job.id).path / "job.json", msgspec.json.encode(job))
            except OSError as error:
                raise BackendUnavailable(f"{self._machine.work_dir} cannot be written: {error.strerror}.") from error
            self._entries[job.id] = Entry(need)
            self._admit()
        return Handle(job.id)

    def observe(self, handle: Handle) -> Observation:
        """How the job is, from its directory."""
        entry = self._entries.get(handle.job_id)
        if entry is None:
            return Observation(handle=handle, state=State.UNKNOWN)
        seen = self._dir(handle.job_id).load().observation
        if self._is_canceled(handle.job_id) and seen.state in TERMINAL:  # too late: it counts as cancelled by now
            return dataclasses.replace(seen, state=State.RUNNING)
        if entry.phase is Phase.WAITING:
            return dataclasses.replace(seen, reason=self._capacity.reason(entry.need))
        return seen

    async def cancel(self, handle: Handle) -> None:
        """End the job: its supervisor looks out for the mark. Forget one that has ended."""
        job_id = handle.job_id
        if job_id not in self._entries:
            return
        if self._dir(job_id).load().observation.state not in TERMINAL:
            (self._dir(job_id).path / "canceled").touch()
            await self._clear(job_id)
            return
        while not await self._clear(job_id):  # noqa: ASYNC110 - its supervisor is on its way out
            await asyncio.sleep(TICK_SECONDS / 10)

    async def _tick(self) -> None:
        for job_id in list(self._entries):
            try:
                if self._is_canceled(job_id):
                    await self._clear(job_id)
                elif (entry := self._entries.get(job_id)) and entry.phase is Phase.RUNNING:
                    self._look(job_id, entry)
            except OSError:
                self._ctx.log.exception("job cannot be looked after", extra={"job": job_id})
        self._admit()

    def _look(self, job_id: str, entry: Entry) -> None:
        lock = self._lock(job_id)
        if lock is not None:
            entry.phase = self._settle(job_id, entry)
            os.close(lock)
        seen_at = _written_at(self._dir(job_id).path / "status.json")
        if seen_at != entry.seen_at:
            entry.seen_at = seen_at
            self._ctx.changed(Handle(job_id))

    def _settle(self, job_id: str, entry: Entry) -> Phase:
        """What becomes of a job that has no supervisor any more."""
        directory = self._dir(job_id)
        status = directory.load()
        if status.observation.state in TERMINAL:
            return Phase.ENDED
        if status.created == 0 and entry.beginnings < MOST_BEGINNINGS:
            return Phase.WAITING
        sentence = "The process that supervised this task died, and its executors with it. Submit the task again."
        logs = (*status.observation.system_logs, sentence)
        ended = dataclasses.replace(
            status.observation, state=State.SYSTEM_ERROR, end_time=datetime.now(UTC), system_logs=logs, reason=""
        )
        directory.save(dataclasses.replace(status, observation=ended), to_disk=True)
        return Phase.ENDED

    def _admit(self) -> None:
        """Begin those that wait, in the order of their ids (which is that of their creation), while there is room."""
        running = [entry.need for entry in self._entries.values() if entry.phase is Phase.RUNNING]
        for job_id, entry in sorted(self._entries.items()):
            if entry.phase is Phase.WAITING and not self._is_canceled(job_id):
                if not self._capacity.has_room(entry.need, running):
                    return
                self._begin(job_id, entry)
                running.append(entry.need)

    def _begin(self, job_id: str, entry: Entry) -> None:
        entry.phase = Phase.RUNNING
        entry.beginnings += 1
        if (lock := self._lock(job_id)) is not None:  # else a supervisor has the job already
            self._nursery.begin(job_id, lock)

    async def _clear(self, job_id: str) -> bool:
        """Forget the job and remove its files, unless its supervisor still lives."""
        if job_id not in self._entries:
            return True
        lock = self._lock(job_id)
        if lock is None:
            return False
        os.close(lock)
        # In one step: nobody is to see it half removed.
        forgotten = self._machine.work_dir / "forgotten" / f"{job_id}-{secrets.token_hex(4)}"
        self._dir(job_id).path.rename(forgotten)
        del self._entries[job_id]
        await asyncio.to_thread(remove_tree, forgotten)
        return True

    def _lock(self, job_id: str) -> int | None:
        """The lock of a job, or None if somebody holds it."""
        fd = os.open(self._dir(job_id).path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def _is_canceled(self, job_id: str) -> bool:
        return (self._dir(job_id).path / "canceled").exists()

    def _dir(self, job_id: str) -> JobDir:
        return JobDir.of(self._machine.work_dir, job_id)


def _keep(document: Path, content: bytes) -> None:
    document.parent.mkdir(mode=0o700, exist_ok=True)
    draft = document.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(document)


def _written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
