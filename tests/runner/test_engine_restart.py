"""An engine of our own that dies and comes back."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tesgw.runner import Runner
from tesgw.states import State
from tests.runner.conftest import Lab, make_job, open_lab, sh, until

_CAN_START = os.geteuid() == 0 and shutil.which("dockerd") and shutil.which("unshare")
pytestmark = [pytest.mark.engine, pytest.mark.skipif(not _CAN_START, reason="needs root and dockerd to start an engine")]


class Daemon:
    """A dockerd beside the machine's, without a network of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = f"unix://{directory}/socket"
        self.process: subprocess.Popen[bytes] | None = None

    def docker(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        command = ("docker", "--host", self.url, *arguments)
        return subprocess.run(command, check=True, capture_output=True, input=stdin).stdout

    def start(self) -> None:
        at = self.directory
        places = (f"--data-root={at}/data", f"--exec-root={at}/run", f"--pidfile={at}/pid")
        with (at / "log").open("ab") as log:
            # In a network namespace of its own: with --bridge=none an engine deletes the docker0 of the machine's engine
            # (seen with moby 20.10, daemon_unix.go: removeDefaultBridgeInterface).
            command = ("unshare", "--net", "dockerd", "--host", self.url, *places, "--bridge=none", "--iptables=false")
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while subprocess.run(("docker", "--host", self.url, "version"), capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(60)
            self.process = None


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    directory = Path(tempfile.mkdtemp(prefix="tesgw-dockerd-"))  # short: it holds sockets
    daemon = Daemon(directory)
    try:
        daemon.start()
        daemon.docker("load", stdin=subprocess.run(("docker", "save", "busybox"), check=True, capture_output=True).stdout)
        yield daemon
    finally:
        daemon.stop()
        shutil.rmtree(directory)


@pytest.fixture
async def lab(tmp_path: Path, daemon: Daemon) -> AsyncIterator[Lab]:
    if daemon.process is None:
        await asyncio.to_thread(daemon.start)
    async with open_lab(tmp_path, url=daemon.url, grace_seconds=120) as lab:
        yield lab


async def start(lab: Lab, script: str) -> tuple[Runner, asyncio.Task[None]]:
    runner = lab.runner(make_job(sh(f"{script} touch /tes-wd/shared-global/up; sleep 60 & wait"), sh("true")))
    running = asyncio.create_task(runner.run())
    await until((lab.shared / "up").exists)
    return runner, running


@pytest.mark.parametrize("script", ["", "trap 'exit 0' TERM;", "trap 'exit 7' TERM;"])
async def test_an_engine_restart_is_no_error_of_the_executor_it_stops(lab: Lab, daemon: Daemon, script: str) -> None:
    runner, running = await start(lab, script)
    await asyncio.to_thread(daemon.stop)
    await asyncio.to_thread(daemon.start)
    await asyncio.wait_for(running, 120)

    assert runner.observe().state is State.SYSTEM_ERROR
    assert "the Docker engine went down" in runner.observe().system_logs[0]
    assert len(runner.observe().executors) == 1
    assert not await lab.world.engine.containers()


async def test_a_gateway_that_comes_back_after_the_engine_sees_what_happened(lab: Lab, daemon: Daemon) -> None:
    runner, running = await start(lab, "")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.to_thread(daemon.stop)
    await asyncio.to_thread(daemon.start)
    again = Runner(runner._job, lab.world, lambda: None)
    await again.run()

    assert again.observe().state is State.SYSTEM_ERROR
    assert "the Docker engine went down" in again.observe().system_logs[0]
