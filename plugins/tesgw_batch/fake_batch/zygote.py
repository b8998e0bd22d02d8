"""Runs the main function of an installed package as a task's program, without the seconds that its imports take."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from tesgw_batch.fake_batch import forks
from tesgw_batch.fake_batch.execution import Command
from tesgw_batch.fake_batch.processes import end_tree

GONE = "The process that runs this program has ended."


@dataclass(frozen=True, slots=True)
class _Run:
    pid: asyncio.Future[int] = field(default_factory=asyncio.Future)
    code: asyncio.Future[int] = field(default_factory=asyncio.Future)

    def end(self) -> None:
        """Kill its process, as soon as there is one."""
        self.pid.add_done_callback(lambda pid: None if self.code.done() or pid.exception() else end_tree(pid.result()))


def _environment() -> dict[str, str]:
    """What makes Python behave in another way here is not to reach a program."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**own, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}


class Zygote:
    """A `Program` that calls `main(argv) -> int` of a module, each time in a process that looks freshly started.

    A process that has imported the module, and whatever is `preloaded`, forks for each run. It ends with `stop` or with
    its owner; what it has started goes on then, as what a service started does.
    """

    def __init__(self, module: str, preloaded: Sequence[str] = ()) -> None:
        self._modules = (module, *preloaded)
        self._runs: dict[int, _Run] = {}
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Import. Raises RuntimeError with the traceback of an import that fails."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", forks.__file__, *self._modules),
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        first = json.loads(await self._answers.readline() or "{}")
        if "ready" not in first:
            await self._process.communicate()
            raise RuntimeError(f"{self._modules[0]} cannot be run: {first.get('error', 'its process ended')}")
        self._listening = asyncio.create_task(self._listen(), name="zygote's answers")

    async def stop(self) -> None:
        """Take no more runs. Those that are waited for fail with ConnectionError; their processes go on."""
        self._requests.close()
        await self._process.wait()
        await self._listening

    async def __call__(self, command: Command, argv: list[str]) -> int:
        """The exit code of one run. Cancelled, it kills the process tree of that run."""
        run = self._begin(command, argv)
        try:
            await asyncio.wait({run.code})
        except asyncio.CancelledError:
            run.end()
            await asyncio.wait({run.code})
            raise
        return run.code.result()

    def _begin(self, command: Command, argv: list[str]) -> _Run:
        if self._listening.done():
            raise ConnectionError(GONE)
        number, run = next(self._numbers), _Run()
        request = {
            "id": number,
            "argv": argv,
            "environment": command.full_environment(),
            "directory": str(command.working_directory),
            "streams": [os.devnull, str(command.directory / "stdout.txt"), str(command.directory / "stderr.txt")],
        }
        self._runs[number] = run
        self._requests.write(json.dumps(request).encode() + b"\n")
        return run

    async def _listen(self) -> None:
        async for line in self._answers:
            answer = json.loads(line)
            if "pid" in answer:
                self._runs[answer["id"]].pid.set_result(answer["pid"])
            else:
                self._runs.pop(answer["id"]).code.set_result(answer["code"])
        for run in self._runs.values():
            for future in (run.pid, run.code):
                if not future.done():
                    future.set_exception(ConnectionError(GONE))
                    future.exception()  # it may be that nobody asks
