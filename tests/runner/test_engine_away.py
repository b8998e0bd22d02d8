"""An engine that cannot be reached, while its containers go on: the machine's own, behind a door that can be shut."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tesgw.errors import BackendUnavailable
from tesgw.runner import Engine, EngineGone, discard, sweep
from tesgw.states import State
from tests.runner.conftest import docker, make_job, open_lab, sh, until

pytestmark = pytest.mark.engine


class Door:
    """A socket that leads to the engine's while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix://{path}"
        self._engine = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").removeprefix("unix://")
        self._server: asyncio.Server | None = None
        self._inside: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._pass, self.path)

    async def shut(self) -> None:
        """Nobody gets in any more, and who is inside is thrown out."""
        if self._server:
            self._server.close()
            self.path.unlink(missing_ok=True)
        # By their connections: asyncio (3.11) reports a handler that is cancelled as an error of its own.
        for writer in self._inside.values():
            writer.transport.abort()
        await asyncio.gather(*self._inside)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing = asyncio.current_task()
        assert passing
        assert self._server
        self._inside[passing] = writer
        if not self._server.is_serving():  # let in just before the door was shut
            writer.transport.abort()
        there, back = await asyncio.open_unix_connection(self._engine)
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        finally:
            back.close()
            writer.close()
            del self._inside[passing]

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    with tempfile.TemporaryDirectory() as directory:  # a short path: it holds a socket
        door = Door(Path(directory) / "socket")
        await door.open()
        yield door
        await door.shut()


async def test_tasks_outlast_an_engine_that_is_away_for_a_moment(tmp_path: Path, door: Door) -> None:
    async with open_lab(tmp_path, url=door.url, grace_seconds=60) as lab:
        script = "touch /tes-wd/shared-global/up; while [ ! -e /tes-wd/shared-global/go ]; do sleep 0.1; done; exit 7"
        runner = lab.runner(make_job(sh(script, ignore_error=True), sh("true")))
        running = asyncio.create_task(runner.run())
        await until((lab.shared / "up").exists)
        await door.shut()
        (lab.shared / "go").touch()
        await asyncio.to_thread(docker, "wait", f"tesgw-{runner.observe().handle.job_id}-0")
        await door.open()
        await running
        left = await lab.world.engine.containers()

    assert runner.observe().state is State.COMPLETE
    assert [log.exit_code for log in runner.observe().executors] == [7, 0]
    assert left == []


async def test_a_task_begun_while_the_engine_is_away_runs_when_it_is_back(tmp_path: Path, door: Door) -> None:
    async with open_lab(tmp_path, url=door.url, grace_seconds=60) as lab:
        await door.shut()
        running = asyncio.create_task(lab.run(sh("echo x"), volumes=("/vol",)))
        await asyncio.sleep(0.2)
        await door.open()
        seen = await running

    assert (seen.state, seen.executors[0].stdout) == (State.COMPLETE, "x\n")


async def test_an_engine_that_stays_away_ends_the_task_and_what_it_left_is_swept(tmp_path: Path, door: Door) -> None:
    async with open_lab(tmp_path, url=door.url, grace_seconds=0.5) as lab:
        job = make_job(sh("touch /tes-wd/shared-global/up; sleep 60"))
        runner = lab.runner(job)
        running = asyncio.create_task(runner.run())
        await until((lab.shared / "up").exists)
        await door.shut()
        with pytest.raises(EngineGone):
            await running
        with pytest.raises(BackendUnavailable):
            await discard(lab.world, job.id)
        await door.open()
        left = await lab.world.engine.containers()
        await sweep(lab.world, lambda job_id: False)
        swept = await lab.world.engine.containers()

    assert runner.observe().state is State.SYSTEM_ERROR
    assert runner.observe().system_logs[0].startswith("The Docker engine stopped answering while a container ")
    assert [job_id for _, job_id in left] == [job.id]
    assert swept == []


async def test_opening_says_at_once_that_there_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="Docker engine"):
        await Engine.open(tmp_path, url=f"unix://{tmp_path}/none")
