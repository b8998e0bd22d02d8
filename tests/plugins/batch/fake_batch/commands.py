"""Commands on a node of its own directory, and what the tests of their execution wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tesgw_batch.fake_batch.execution import Command, Ended, Execution


def make(root: Path, command_line: str, **fields: Any) -> Command:
    """A task on the node with this root."""
    environment = {"AZ_BATCH_NODE_ROOT_DIR": str(root), "AZ_BATCH_TASK_ID": "task", **fields.pop("environment", {})}
    directory = root / "workitems" / "job" / "job-1" / fields.pop("task", "task")
    defaults = {"container": None, "directory": directory, "node_root": root}
    return Command(command_line=command_line, environment=environment, **{**defaults, **fields})


async def run(command: Command) -> Ended:
    return await Execution(command, {}).run()


def out(command: Command) -> str:
    return (command.directory / "stdout.txt").read_text()


def err(command: Command) -> str:
    return (command.directory / "stderr.txt").read_text()


def code(ended: Ended) -> str:
    """Of what went wrong."""
    assert ended.failure
    assert ended.failure["category"] == "usererror"
    return str(ended.failure["code"])


async def until(is_so: Callable[[], object]) -> None:
    """Wait for something that nobody tells; a minute, since machines may be slow."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def pid_in(file: Path) -> int:
    """The process id that a command writes there."""
    written = ""

    def is_written() -> bool:
        nonlocal written
        written = file.read_text() if file.exists() else ""
        return written.endswith("\n")

    await until(is_written)
    return int(written)


@asynccontextmanager
async def running(command: Command) -> AsyncIterator[tuple[Execution, asyncio.Task[Ended]]]:
    execution = Execution(command, {})
    task = asyncio.create_task(execution.run())
    try:
        yield execution, task
    finally:
        await execution.kill()
        await task
