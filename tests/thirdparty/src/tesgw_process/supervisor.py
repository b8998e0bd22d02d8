"""Runs one job, in a process that outlives the gateway: inputs, executors one by one, outputs, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec

from tesgw import Job, State
from tesgw.errors import StageError
from tesgw.model import MissingOutputs
from tesgw.runner.faults import explain
from tesgw.runner.logs import punch, tail
from tesgw.runner.progress import Progress
from tesgw.runner.transfer import Transfers
from tesgw.runner.world import JobDir
from tesgw.states import TERMINAL
from tesgw_process import sandbox
from tesgw_process.machine import Machine
from tesgw_process.rooms import Rooms
from tesgw_process.staging import Delivery, check_disk, stage_in, stage_out

LOOK_SECONDS = 0.2
LOOKS_PER_TAIL = 10
RUNNING_TAIL_BYTES = 4 * 1024
FINAL_TAIL_BYTES = 64 * 1024
UNNAMED_BYTES = 2**20


def main(machine: Machine, job_id: str) -> None:
    """Bring the job to its end, or leave it where it is once its directory says that it is canceled."""
    directory = JobDir.of(machine.work_dir, job_id)
    job = msgspec.json.decode((directory.path / "job.json").read_bytes(), type=Job)
    sandbox.own_mounts()
    asyncio.run(_supervise(job, machine, directory))


async def _supervise(job: Job, machine: Machine, directory: JobDir) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        transfers = Transfers(http=lambda: http, files=machine.readable)
        running = asyncio.create_task(Supervisor(job, machine, directory, transfers).run())
        while not running.done() and _is_wanted(directory):
            await asyncio.wait([running], timeout=LOOK_SECONDS / 2)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _is_wanted(directory: JobDir) -> bool:
    """Not if it was canceled, or somebody removed the whole directory."""
    return (directory.path / "job.json").exists() and not (directory.path / "canceled").exists()


class Supervisor:
    """One job on its way. All that observers are to see is on the disk as soon as it is known."""

    def __init__(self, job: Job, machine: Machine, directory: JobDir, transfers: Transfers) -> None:
        self._job = job
        self._has_network = machine.has_network
        self._dir = directory
        self._transfers = transfers
        self._rooms = Rooms(job, machine, directory)
        self._progress = Progress(directory, lambda: directory.save(self._progress.status))

    async def run(self) -> None:
        if self._progress.observation.state not in TERMINAL:
            verdict = await self._verdict()
            await self._progress.finish(**verdict, end_time=datetime.now(UTC), reason="")

    async def _verdict(self) -> dict[str, Any]:
        """What the end changes in the observation."""
        try:
            await self._stage_in()
            failed = await self._execute_all()
            delivery = await stage_out(self._job.outputs, self._rooms.views, self._transfers)
        except Exception as error:  # whatever it is: the task must end, and say why
            self._progress.say(explain(error, self._job.id))
            return {"state": State.SYSTEM_ERROR}
        self._progress.say(*delivery.missing, *delivery.unmatched, *delivery.failures)
        return {"state": self._judge(failed, delivery), "outputs": tuple(delivery.files)}

    def _judge(self, failed: bool, delivery: Delivery) -> State:
        if failed:
            return State.EXECUTOR_ERROR
        lacks = delivery.missing and self._job.missing_outputs is MissingOutputs.ERROR
        return State.SYSTEM_ERROR if lacks or delivery.failures else State.COMPLETE

    async def _stage_in(self) -> None:
        self._progress.show(state=State.INITIALIZING, start_time=datetime.now(UTC))
        self._dir.make(len(self._job.executors))
        check_disk(self._job, self._dir.path)
        await asyncio.to_thread(self._rooms.add)
        await stage_in(self._job, self._rooms.views[0], self._transfers)

    async def _execute_all(self) -> bool:
        """Whether an executor failed that the task cannot do without."""
        for index, executor in enumerate(self._job.executors):
            if index:
                await asyncio.to_thread(self._rooms.add)
            code = await self._execute(index)
            if code and (ram_gb := self._job.resources.ram_gb):
                self._progress.say(
                    f"Executor {index} failed; each of its processes had ram_gb={ram_gb:g} of memory for data."
                )
            if code and not executor.ignore_error:
                return True
        return False

    async def _execute(self, index: int) -> int:
        # On the disk before it starts: should this process die, the executor must not be started again.
        await self._progress.keep(created=index + 1)
        self._progress.show_executor(index, start_time=datetime.now(UTC))
        follower = asyncio.create_task(self._follow(index))
        try:
            code = await _run(self._room(index))
        finally:
            follower.cancel()
            await asyncio.wait([follower])
        tails = self._tails(index, FINAL_TAIL_BYTES)
        self._progress.show_executor(index, exit_code=code, end_time=datetime.now(UTC), **tails)
        return code

    def _room(self, index: int) -> sandbox.Room:
        executor, ram_gb = self._job.executors[index], self._job.resources.ram_gb
        return sandbox.Room(
            supervisor=os.getpid(),
            root=str(self._rooms.roots[index]),
            command=list(executor.command),
            env=dict(executor.env),
            workdir=executor.workdir or "/",
            stdin=executor.stdin,
            stdout=executor.stdout,
            stderr=executor.stderr,
            unnamed=[str(self._dir.stream(index, name)) for name in ("stdout", "stderr")],
            has_network=self._has_network,
            data_bytes=int(ram_gb * 10**9) if ram_gb else None,
        )

    async def _follow(self, index: int) -> None:
        """Keep the tails of the running executor fresh, and its unnamed streams small on the disk."""
        for look in itertools.count(1):
            await asyncio.sleep(LOOK_SECONDS)
            for name in ("stdout", "stderr"):
                _shorten(str(self._dir.stream(index, name)))
            if look % LOOKS_PER_TAIL == 0:
                self._progress.show_executor(index, **self._tails(index, RUNNING_TAIL_BYTES))

    def _tails(self, index: int, limit: int) -> dict[str, str]:
        executor = self._job.executors[index]
        named = {"stdout": executor.stdout, "stderr": executor.stderr}
        return {name: self._tail(index, name, path, limit) for name, path in named.items()}

    def _tail(self, index: int, name: str, path: str | None, limit: int) -> str:
        try:
            fd = self._rooms.views[index].open(path) if path else os.open(self._dir.stream(index, name), os.O_RDONLY)
        except OSError:  # not there yet, or nothing to be read
            return ""
        try:
            return tail(fd, limit).decode("utf-8", "replace")
        finally:
            os.close(fd)


def _shorten(path: str) -> None:
    with open(path, "r+b") as stream:
        if os.fstat(stream.fileno()).st_blocks * 512 > UNNAMED_BYTES:
            punch(stream.fileno(), UNNAMED_BYTES // 2)


async def _run(room: sandbox.Room) -> int:
    """The exit code. Cancelled, it ends all that runs in the room. StageError if the command did not end by itself."""
    program = (sys.executable, "-I", "-S", "-X", "utf8", sandbox.__file__)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, stdin=pipe, stdout=pipe)
    try:
        said, _ = await process.communicate(json.dumps(room._asdict()).encode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
    if not said.isdigit():
        raise StageError(said.decode() or "The executor was ended from outside. Submit the task again.")
    return int(said)
