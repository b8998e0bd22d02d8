"""The second pass: the same tasks over HTTP, through a whole gateway whose backend is the one under test."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tesgw.backends import load_class
from tesgw.conformance.case import LOOK_SECONDS, Case, Result, World
from tesgw.conformance.files import FileServer
from tesgw.conformance.harness import Harness
from tesgw.model import ExecutorLog, OutputFile
from tesgw.settings import SETTINGS, of_values
from tesgw.states import TERMINAL, State

BASE = "/ga4gh/tes/v1"


class HttpWorld(World):
    """A gateway with SQLite on loopback, and a client that asks it as workflow engines do."""

    def __init__(self, name: str, harness: Harness, directory: Path, files: FileServer) -> None:
        self.name, self.harness, self.directory, self.files = name, harness, directory, files
        self._spec = load_class(name)
        self.capabilities = self._spec.capabilities
        self.url = ""
        self._states: dict[str, State] = {}
        self._listed = asyncio.Condition()
        self._lists = 0

    async def start(self) -> None:
        self.client = aiohttp.ClientSession()
        await self._serve()
        self._listing = asyncio.create_task(self._list_on())

    async def stop(self) -> None:
        self._listing.cancel()
        await asyncio.gather(self._listing, return_exceptions=True)
        await self.client.close()
        await self._runner.cleanup()

    async def submit(self, document: Mapping[str, Any]) -> str:
        async with self.client.post(f"{self.url}/tasks", json=document) as answer:
            assert answer.status == 200, await answer.text()
            task_id: str = (await answer.json())["id"]
            return task_id

    async def look(self, task_id: str) -> Result:
        async with self.client.get(f"{self.url}/tasks/{task_id}?view=FULL") as answer:
            assert answer.status == 200, await answer.text()
            return _result(await answer.json())

    async def ended(self, task_id: str) -> Result:
        async with self._listed:
            await self._listed.wait_for(lambda: self._states.get(task_id) in TERMINAL or self._listing.done())
        if self._listing.done():
            self._listing.result()  # raises what was wrong with a list
        return await self.look(task_id)

    def last_seen(self, task_id: str) -> str:
        return str(self._states.get(task_id, "never listed"))

    async def cancel(self, task_id: str) -> None:
        async with self.client.post(f"{self.url}/tasks/{task_id}:cancel") as answer:
            assert answer.status == 200, await answer.text()

    async def forget(self, task_id: str) -> None:
        await self.cancel(task_id)
        await self.ended(task_id)

    async def restart(self) -> None:
        async with self._listed:
            await self._runner.cleanup()
            await self._serve()

    async def _serve(self) -> None:
        from tesgw.app import create_app  # takes a second, which a run of the other pass alone can do without

        values = {**self.harness.settings(self.directory), "COMPUTE_BACKEND": self.name}
        values.setdefault("LOCAL_WORK_DIR", self.directory)
        app = await create_app(of_values((*SETTINGS, *self._spec.settings), values))
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}{BASE}"

    async def _list_on(self) -> None:
        while True:
            async with self._listed:
                try:
                    async with self.client.get(f"{self.url}/tasks?page_size=2047") as answer:
                        tasks = (await answer.json())["tasks"]
                    self._states = {task["id"]: State(task["state"]) for task in tasks}
                finally:
                    self._listed.notify_all()
            await asyncio.sleep(LOOK_SECONDS)


def gateway_of(case: Case) -> HttpWorld:
    """For rules of this pass alone."""
    assert isinstance(case.world, HttpWorld)
    return case.world


def _result(task: Mapping[str, Any]) -> Result:
    log = task.get("logs", [{}])[-1]
    return Result(
        state=State(task["state"]),
        executors=tuple(_executor(each) for each in log.get("logs", ())),
        outputs=tuple(_output(each) for each in log.get("outputs", ())),
        system_logs=tuple(log.get("system_logs", ())),
    )


def _output(log: Mapping[str, Any]) -> OutputFile:
    return OutputFile(url=log["url"], path=log["path"], size_bytes=int(log["size_bytes"]))


def _executor(log: Mapping[str, Any]) -> ExecutorLog:
    def time(name: str) -> dt.datetime | None:
        return dt.datetime.fromisoformat(log[name]) if name in log else None

    return ExecutorLog(
        start_time=time("start_time"),
        end_time=time("end_time"),
        exit_code=log.get("exit_code"),
        stdout=log.get("stdout", ""),
        stderr=log.get("stderr", ""),
    )
