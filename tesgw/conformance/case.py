"""What a test of the suite works with: its own corner of storage and shared directory, and the tasks that it runs."""

from __future__ import annotations

import asyncio
import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tesgw.capabilities import Capability
from tesgw.conformance.files import FileServer
from tesgw.conformance.harness import Harness
from tesgw.model import ExecutorLog, OutputFile
from tesgw.states import TERMINAL, State

LOOK_SECONDS = 0.1
SHARED_GLOBAL = "/tes-wd/shared-global"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is known of a task, however it was asked."""

    state: State
    executors: tuple[ExecutorLog, ...] = ()
    outputs: tuple[OutputFile, ...] = ()
    system_logs: tuple[str, ...] = ()

    @property
    def stdout(self) -> str:
        """Of the last executor."""
        return self.executors[-1].stdout

    @property
    def exit_codes(self) -> list[int | None]:
        return [log.exit_code for log in self.executors]

    def says(self, *words: str) -> bool:
        """Whether one system log holds all of these words, whatever their case."""
        return any(all(word.lower() in log.lower() for word in words) for log in self.system_logs)


class World(ABC):
    """The backend under test, behind one way of asking it. Ids are those of tasks."""

    name: str
    harness: Harness
    capabilities: frozenset[Capability]
    directory: Path
    files: FileServer

    @abstractmethod
    async def start(self) -> None:
        """Bring the backend up."""

    @abstractmethod
    async def stop(self) -> None:
        """Take it down as a gateway that stops does."""

    @abstractmethod
    async def submit(self, document: Mapping[str, Any]) -> str:
        """Have the task run; its id."""

    @abstractmethod
    async def look(self, task_id: str) -> Result:
        """The task as it is now."""

    @abstractmethod
    async def ended(self, task_id: str) -> Result:
        """The task, once it is in a terminal state."""

    @abstractmethod
    async def cancel(self, task_id: str) -> None:
        """Ask for the end of the task."""

    @abstractmethod
    async def forget(self, task_id: str) -> None:
        """Let go of an ended task, so that the backend may release what it kept of it."""

    @abstractmethod
    async def restart(self) -> None:
        """Throw the backend's object away in the middle of everything and make a new one, as a restarted gateway does."""

    @abstractmethod
    def last_seen(self, task_id: str) -> str:
        """How the task was when it was last heard of, in words."""

    def job_id(self, task_id: str) -> str:
        """The name of the task's first attempt at the backend."""
        return f"{task_id}-1"


class Case:
    """One test's own."""

    def __init__(self, name: str, world: World) -> None:
        self.world = world
        self.harness = world.harness
        self.key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        self._tasks: list[str] = []

    # Documents

    def sh(self, script: str, **fields: Any) -> dict[str, Any]:
        """An executor that runs a shell script."""
        return self.argv("sh", "-c", script, **fields)

    def argv(self, *command: str, **fields: Any) -> dict[str, Any]:
        """An executor that runs this command in the harness's image, unless `image` names another."""
        return {"image": self.harness.image, "command": list(command), **fields}

    def step(self, name: str, *, is_held: bool = False) -> dict[str, Any]:
        """An executor that counts in `ran(name)`, and, if held, then waits for `let_go(name)`."""
        path = f"{self.shared_path}/{name}"
        wait = f"; until [ -e {path}.go ]; do sleep 0.2; done" if is_held else ""
        return self.sh(f"echo ran >>{path}{wait}")

    def let_go(self, name: str) -> None:
        (self.shared / f"{name}.go").touch()

    def ran(self, name: str) -> int:
        """How often steps of this name have run."""
        path = self.shared / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    # Storage: a server that tasks' inputs are read from and their outputs are written to

    def put(self, name: str, content: bytes) -> str:
        """Make a file for inputs; its URL."""
        return self.world.files.put(f"{self.key}/{name}", content)

    def url(self, name: str) -> str:
        """The URL of a file or directory for outputs."""
        return self.world.files.url(f"{self.key}/{name}")

    @property
    def delivered(self) -> dict[str, bytes]:
        """The files that were written, by the names that `url` was given."""
        return self.world.files.below(f"{self.key}/")

    def reads(self, name: str) -> int:
        """How often a file that `put` made was fetched from its beginning."""
        return self.world.files.reads[f"{self.key}/{name}"]

    def hold(self, name: str) -> None:
        """Have whoever reads or writes this file wait for `release(name)`, or for ever."""
        self.world.files.hold(f"{self.key}/{name}")

    def release(self, name: str) -> None:
        self.world.files.release(f"{self.key}/{name}")

    async def held_up(self, name: str) -> None:
        """Wait until somebody has asked for a held file, or sends it."""
        await self.world.files.held_up(f"{self.key}/{name}")

    # The directory that all tasks share

    @property
    def shared(self) -> Path:
        """This test's part of the shared directory, made if need be, as this machine sees it."""
        of_all = self.world.harness.shared_global(self.world.directory)
        for path, mode in ((of_all, 0o1777), (of_all / self.key, 0o777)):
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(mode)
        return path

    @property
    def shared_path(self) -> str:
        """The same as tasks see it."""
        _ = self.shared
        return f"{SHARED_GLOBAL}/{self.key}"

    # Tasks

    async def run(self, *executors: Mapping[str, Any], **fields: Any) -> Result:
        """Run a task to its end."""
        return await self.world.ended(await self.submit(*executors, **fields))

    async def submit(self, *executors: Mapping[str, Any], **fields: Any) -> str:
        """Have a task run; its id."""
        return self.own(await self.world.submit({"executors": list(executors), **fields}))

    def own(self, task_id: str) -> str:
        """Have the task ended with the test."""
        self._tasks.append(task_id)
        return task_id

    async def until(self, task_id: str, claim: Callable[[Result], bool]) -> Result:
        """The task, once the claim is true of it. Fails if it ends before that."""
        while True:
            seen = await self.world.look(task_id)
            if claim(seen):
                return seen
            assert seen.state not in TERMINAL, f"The task ended too early: {seen}"
            await asyncio.sleep(LOOK_SECONDS)

    async def appears(self, name: str) -> Path:
        """A file of `shared`, once a task has made it."""
        path = self.shared / name
        while not path.exists():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_SECONDS / 2)
        return path

    async def started(self, task_id: str) -> None:
        """Wait until an executor of the task runs, as the harness sees it."""
        while not await self.harness.running(self.world.job_id(task_id)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_SECONDS)

    async def stopped(self, task_id: str) -> None:
        """Wait until no executor of the task runs any more, as the harness sees it."""
        while await self.harness.running(self.world.job_id(task_id)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_SECONDS)

    async def cleared(self, task_id: str) -> Sequence[str]:
        """What the backend has kept of the task after it was given the time to remove it; nothing, if all is well."""
        for _ in range(int(self.harness.patience_seconds / 2 / LOOK_SECONDS)):
            left = await self.harness.left(self.world.directory, self.world.job_id(task_id))
            if not left:
                return left
            await asyncio.sleep(LOOK_SECONDS)
        return left

    def last_seen(self) -> str:
        """What became of the test's tasks, in words, for one that took too long."""
        return " ".join(f"Task {task_id}: {self.world.last_seen(task_id)}." for task_id in self._tasks)

    async def close(self) -> None:
        """End what the test started, if the backend will: to hold it to that is for tests to do."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.harness.patience_seconds / 2):
                for task_id in self._tasks:
                    await self.world.forget(task_id)
