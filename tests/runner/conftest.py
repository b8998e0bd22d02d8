"""A world on the real engine, and jobs to run in it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tesgw.model import Executor, Job, Layout, MissingOutputs, Observation, Output, Resources
from tesgw.paths import has_wildcards, literal_parent
from tesgw.runner import Engine, Runner, Transfers, World, discard
from tesgw.runner.files import Namespace

MakeImage = Callable[..., str]


def docker(*arguments: str) -> str:
    """What the command line tool prints."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def sh(script: str, **fields: Any) -> Executor:
    """An executor that runs a shell script."""
    return Executor(**{"image": "busybox", "command": ("sh", "-c", script), **fields})


def make_job(*executors: Executor, **fields: Any) -> Job:
    """A job of these executors, with the directories that its inputs, outputs and streams name."""
    files = [item.path for item in (*fields.get("inputs", ()), *fields.get("outputs", ()))]
    files += [path for executor in executors for path in (executor.stdin, executor.stdout, executor.stderr) if path]
    named = {literal_parent(path) if has_wildcards(path) else path.rpartition("/")[0] for path in files}
    named |= {executor.workdir for executor in executors if executor.workdir} | set(fields.get("volumes", ()))
    defaults: dict[str, Any] = {
        "id": f"test{uuid4().hex[:12]}",
        "inputs": (),
        "outputs": (),
        "directories": tuple(sorted(named - {"", "/"})),
        "volumes": (),
        "resources": Resources(),
        "layout": Layout(),
        "missing_outputs": MissingOutputs.ERROR,
    }
    return Job(executors=executors, **{**defaults, **fields})


async def until(is_so: Callable[[], object]) -> None:
    """Wait for something that nobody tells; a minute, since machines may be slow."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


class Lab:
    """A world in a temporary directory, whose `data` may be used in URLs."""

    def __init__(self, world: World, data: Path) -> None:
        self.world = world
        self.data = data
        self.shared = world.volumes["/tes-wd/shared-global"]

    def output(self, path: str, name: str, **fields: Any) -> Output:
        return Output(path=path, url=f"file://{self.data}/{name}", **fields)

    def read(self, name: str) -> str:
        return (self.data / name).read_text()

    def runner(self, job: Job) -> Runner:
        return Runner(job, self.world, lambda: None)

    async def run(self, *executors: Executor, **fields: Any) -> Observation:
        runner = self.runner(make_job(*executors, **fields))
        await runner.run()
        return runner.observe()


@contextlib.asynccontextmanager
async def open_lab(directory: Path, **options: Any) -> AsyncIterator[Lab]:
    """A lab with an engine connection of its own. Without a network: that makes containers faster."""
    shared, data = directory / "shared", directory / "data"
    shared.mkdir(mode=0o777, exist_ok=True)
    data.mkdir(exist_ok=True)
    engine = await Engine.open(directory, **options)
    try:
        async with aiohttp.ClientSession() as session:
            transfers = Transfers(http=lambda: session, files=Namespace({str(data): data, "/tes-wd/shared-global": shared}))
            yield Lab(World(engine, transfers, directory, {"/tes-wd/shared-global": shared}, "none"), data)
    finally:
        await engine.close()


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path) as made:
        yield made
        for _, job_id in await made.world.engine.containers():
            await discard(made.world, job_id)


@pytest.fixture(scope="session")
def make_image() -> Iterator[MakeImage]:
    """Makes an image from busybox by a script and changes of its configuration."""
    made: list[str] = []

    def make(script: str, *changes: str) -> str:
        name = f"tesgw-test:{uuid4().hex[:12]}"
        container = docker("run", "--detach", "busybox", "sh", "-c", script)
        docker("wait", container)
        docker("commit", *(f"--change={change}" for change in changes), container, name)
        docker("rm", container)
        made.append(name)
        return name

    yield make
    for name in made:
        docker("rmi", name)
