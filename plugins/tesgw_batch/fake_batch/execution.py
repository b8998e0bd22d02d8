"""How a start task or a task is really run on this machine, and how a node is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import aiodocker

from tesgw.runner.faults import is_down, is_status
from tesgw_batch.fake_batch.files import TaskFailure, deliver, fetch
from tesgw_batch.fake_batch.processes import end_node, end_tree

log = logging.getLogger(__name__)

FAILURE = "The task exited with an exit code representing a failure"
KILLED = 137


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One start task or task on one node. `container`, `resource_files` and `output_files` are wire forms."""

    command_line: str
    environment: Mapping[str, str]
    """All that Batch and the task define."""
    directory: Path
    """The task's own; its working directory `wd` is made in it, its `stdout.txt` and `stderr.txt` are written there."""
    node_root: Path
    """Container tasks see it at the same path."""
    container: Mapping[str, Any] | None
    resource_files: Sequence[Mapping[str, Any]] = ()
    output_files: Sequence[Mapping[str, Any]] = ()

    @property
    def working_directory(self) -> Path:
        return self.directory / "wd"

    def full_environment(self) -> dict[str, str]:
        """With the one thing that a node has and Batch does not define: where programs are."""
        return {"PATH": os.environ.get("PATH", os.defpath), **self.environment}

    @contextmanager
    def streams(self) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """Standard output and error of the command, empty."""
        with (self.directory / "stdout.txt").open("wb") as out, (self.directory / "stderr.txt").open("wb") as err:
            yield out, err


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command has ended; `failure` is the wire form of failureInfo."""

    exit_code: int | None
    failure: Mapping[str, Any] | None


Program = Callable[[Command, list[str]], Awaitable[int]]
"""Stands in for a container image: runs a command with these arguments and returns its exit code. Ends it if cancelled."""


class Execution:
    """One run of a command. `programs` are by the name of the image that they stand in for."""

    def __init__(self, command: Command, programs: Mapping[str, Program]) -> None:
        self._command = command
        self._programs = programs
        self._running: asyncio.Task[Ended] | None = None
        self._is_killed = False

    async def run(self) -> Ended:
        """Run it to its end, with its files. Who cancels this kills it."""
        if self._is_killed:
            return Ended(exit_code=KILLED, failure=None)
        self._running = asyncio.create_task(self._run())
        try:
            await asyncio.wait({self._running})
        except asyncio.CancelledError:
            await self.kill()
            raise
        return Ended(exit_code=KILLED, failure=None) if self._running.cancelled() else self._running.result()

    async def kill(self) -> None:
        """As Batch terminates a task: ends the process tree of its command line, or its own container.

        `run` returns then, without having uploaded anything. Containers that the command started are not its own.
        """
        is_new, self._is_killed = not self._is_killed, True
        if self._running:
            if is_new:  # what ends it is not to be interrupted
                self._running.cancel()
            await asyncio.wait({self._running})

    async def _run(self) -> Ended:
        command = self._command
        code: int | None = None
        try:
            await asyncio.to_thread(command.working_directory.mkdir, parents=True, exist_ok=True)
            await fetch(command.resource_files, command.working_directory)
            code = await self._execute(_words(command.command_line))
            await deliver(command.output_files, command.working_directory, is_success=code == 0)
            if code != 0:
                raise TaskFailure("FailureExitCode", FAILURE, Message=FAILURE)
        except TaskFailure as failure:
            return Ended(exit_code=code, failure=failure.info)
        return Ended(exit_code=code, failure=None)

    async def _execute(self, argv: list[str]) -> int:
        container = self._command.container
        if container is None:
            return await _run_on_host(self._command, argv)
        if program := self._programs.get(container["imageName"]):
            return await program(self._command, argv)
        return await _run_container(self._command, container, argv)


def _words(command_line: str) -> list[str]:
    """Batch gives a command line to no shell."""
    try:
        return shlex.split(command_line)
    except ValueError as error:
        raise _launch_failure(error) from error


def _launch_failure(error: Exception, code: str = "CommandLaunchFailed") -> TaskFailure:
    return TaskFailure(code, "Failed to launch the specified command line", Message=str(error))


async def _run_on_host(command: Command, argv: list[str]) -> int:
    try:
        with command.streams() as (out, err):
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=command.working_directory,
                env=command.full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
    except FileNotFoundError as error:
        raise _launch_failure(error, "CommandProgramNotFound") from error
    except OSError as error:
        raise _launch_failure(error) from error
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        await asyncio.to_thread(end_tree, process.pid)
        await process.wait()
        raise
    return code if code >= 0 else 128 - code


async def _run_container(command: Command, container: Mapping[str, Any], argv: list[str]) -> int:
    image = container["imageName"]
    if await _docker("image", "inspect", image) and (failure := await _docker("pull", "--quiet", image)):
        raise TaskFailure("ContainerInvalidImage", "The container image could not be found or pulled", Message=failure)
    # Unique on this machine, and the same for who looks for it.
    name = re.sub("[^a-zA-Z0-9_.-]", "-", str(command.directory.relative_to(command.node_root.parent)))
    try:
        if failure := await _docker("create", "--name", name, *_options(command, container), image, *argv):
            raise TaskFailure("ContainerInvalidSettings", "The container could not be created", Message=failure)
        return await _start_container(command, name)
    finally:
        await _docker("rm", "--force", "--volumes", name)


async def _start_container(command: Command, name: str) -> int:
    with command.streams() as (out, err):
        client = await asyncio.create_subprocess_exec(
            *("docker", "start", "--attach", name),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        return await client.wait()
    except asyncio.CancelledError:
        client.kill()
        await client.wait()
        raise


def _options(command: Command, container: Mapping[str, Any]) -> Iterator[str]:
    yield f"--volume={command.node_root}:{command.node_root}"
    # Shares are links on this machine; what they lead to has to be there, too.
    mounts = Path(command.environment.get("AZ_BATCH_NODE_MOUNTS_DIR") or command.node_root / "mounts")
    for share in mounts.iterdir() if mounts.is_dir() else ():
        if share.is_symlink():
            yield f"--volume={share.resolve()}:{share.resolve()}"
    if (container.get("workingDirectory") or "").lower() != "containerimagedefault":
        yield f"--workdir={command.working_directory}"
    for name, value in command.environment.items():
        yield f"--env={name}={value}"
    yield from shlex.split(container.get("containerRunOptions") or "")


async def _docker(*arguments: str) -> str:
    """What the client complains of, empty if it has no complaint. It is waited for even by who is cancelled."""
    command = ("docker", *arguments)
    client = asyncio.create_task(asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False))
    try:
        await asyncio.wait({client})
    except asyncio.CancelledError:
        await asyncio.wait({client})
        raise
    try:
        done = client.result()
    except FileNotFoundError as error:
        raise TaskFailure("ContainerMiscError", "Docker's client is missing on this machine", Message=str(error)) from error
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""


async def remove_node(root: Path) -> None:
    """A machine is gone: ends each process that was started for it, and each container that sees a part of it.

    What was started by others goes on. The directory is removed as far as the rights of this process allow.
    """
    await asyncio.to_thread(end_node, root)
    await _remove_containers(root)
    await asyncio.to_thread(_remove_directory, root)


async def _remove_containers(root: Path) -> None:
    try:
        docker = aiodocker.Docker()
    except (AssertionError, ValueError):  # there is no engine's socket (0.27)
        return
    async with docker:
        try:
            while seeing := [each for each in await docker.containers.list(all=True) if _sees(each["Mounts"], root)]:
                await asyncio.gather(*(_remove_container(each) for each in seeing))
        except Exception as error:
            if not is_down(error):
                raise


def _sees(mounts: Sequence[Mapping[str, Any]], root: Path) -> bool:
    sources = [Path(mount["Source"]) for mount in mounts if mount["Type"] == "bind"]
    return any(source.is_relative_to(root) or source.is_relative_to(root.resolve()) for source in sources)


async def _remove_container(container: aiodocker.containers.DockerContainer) -> None:
    try:
        await container.delete(force=True, v=True)
    except aiodocker.DockerError as error:
        if is_status(error, 409):  # somebody else removes it just now
            with suppress(aiodocker.DockerError):
                await container.wait(condition="removed")
        elif not is_status(error, 404):
            raise


def _remove_directory(root: Path) -> None:
    try:
        shutil.rmtree(root)
    except FileNotFoundError:
        pass
    except PermissionError as error:
        log.warning("files of a node are left behind", extra={"directory": str(root), "reason": str(error)})
