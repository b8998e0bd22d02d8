"""Prints how the Azure Batch backend bears many tasks at once: `make bench-batch`.

A whole gateway, the double of Azure Batch and a small storage (`benchmarks.blobs`) on this machine. Nodes run nothing
(`benchmarks.batch_world`), so the figures are the gateway's, and what it asks of Azure Batch.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob.aio import ContainerClient
from tesgw_batch.fake_batch import FakeBatch
from tesgw_batch.fleet import WATCH_SECONDS

from benchmarks.batch_world import ACCOUNT, CONTAINER, KEY, Nothing, account, settings
from benchmarks.tasks import NO_OP
from scripts.gateway import Gateway, serving

TASKS = "/ga4gh/tes/v1/tasks"
CLIENTS = 16
LOOK_SECONDS = 0.05
Row = tuple[str, str, str]


class Bench:
    """One gateway that has nothing but these tasks."""

    def __init__(self, gateway: Gateway, http: aiohttp.ClientSession, batch: FakeBatch, program: Nothing) -> None:
        self._gateway = gateway
        self._http = http
        self._batch = batch
        self._program = program

    async def measure(self, tasks: int, finished: int) -> AsyncIterator[Row]:
        """Create tasks, have them all run, finish some of them one at a time, then all."""
        start = time.monotonic()
        ids = await self._create(tasks)
        yield "creates, by 16 clients", f"{tasks / (time.monotonic() - start):,.0f} /s", ""
        while len(self._program.running) < tasks:  # noqa: ASYNC110 - many tasks change it
            await asyncio.sleep(LOOK_SECONDS)
        yield "from the first create until all run", f"{time.monotonic() - start:,.0f} s", ""
        await self._until_all(tasks, "RUNNING")
        yield "… and the gateway says so", f"{time.monotonic() - start:,.0f} s", ""
        delays = [await self._notice(task_id) for task_id in ids[:: max(1, tasks // finished)][:finished]]
        aim = f"≤ {2 * WATCH_SECONDS:.0f} s"
        yield f"until one of {len(delays)} finished tasks is noticed, median", f"{median(delays):.1f} s", aim
        yield "… the longest", f"{max(delays):.1f} s", aim
        start = time.monotonic()
        self._program.let_go(*self._program.running)
        await self._until_all(tasks, "COMPLETE")
        yield "from the end of all others until all are COMPLETE", f"{time.monotonic() - start:,.0f} s", ""
        for row in self._costs(tasks):
            yield row

    def _costs(self, tasks: int) -> Iterator[Row]:
        yield "Batch API calls for each task", f"{self._batch.requests.total() / tasks:.3f}", "≤ 1.2"
        yield "the gateway's CPU for each task", f"{1000 * _cpu_seconds(self._gateway) / tasks:.1f} ms", ""
        yield "the gateway's memory, at most", f"{_peak_mb(self._gateway):.0f} MB", "≤ 300 MB"

    async def _create(self, tasks: int) -> Sequence[str]:
        left, ids = iter(range(tasks)), list[str]()

        async def client() -> None:
            for _ in left:
                ids.append((await self._ask("POST", json=NO_OP))["id"])

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return ids

    async def _notice(self, task_id: str) -> float:
        """Finish a task; the seconds until the gateway's answer is that it has."""
        job_id = f"{task_id}-1"
        self._program.let_go(job_id)
        while (await self._ask("GET", f"/{task_id}"))["state"] != "COMPLETE":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - self._program.told_at[job_id]

    async def _until_all(self, tasks: int, state: str) -> None:
        """Until so many tasks are in that state. They are counted only once none is on its way: that costs much less."""
        for before in ("QUEUED", "INITIALIZING", "RUNNING")[: 3 if state == "COMPLETE" else 2]:
            while (await self._ask("GET", f"?state={before}&page_size=1"))["tasks"]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(1)
        found, token = 0, ""
        while token is not None:
            page = await self._ask("GET", f"?state={state}&page_size=2047&page_token={token}")
            found, token = found + len(page["tasks"]), page.get("next_page_token")
        assert found == tasks, f"{found} of {tasks} tasks are {state}"

    async def _ask(self, method: str, path: str = "", **options: Any) -> Any:
        async with self._http.request(method, f"{self._gateway.url}{TASKS}{path}", **options) as answer:
            assert answer.status == 200, f"{method} {path}: {answer.status} {await answer.text()}"
            return await answer.json()


@asynccontextmanager
async def running(tasks: int) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="tesgw-bench-") as temporary:
        directory = Path(temporary)
        with serving(0, {}, ("-m", "benchmarks.blobs")) as storage:
            url = f"{storage.url}/{ACCOUNT}"
            container = ContainerClient(url, CONTAINER, AzureNamedKeyCredential(ACCOUNT, KEY))
            program = Nothing(container, is_held=True)
            async with container, account(directory / "batch", program, tasks) as batch:
                given = {"COMPUTE_BACKEND": "batch", "LOCAL_WORK_DIR": str(directory), **settings(batch, url)}
                with (directory / "gateway.log").open("w") as log, serving(0, given, log=log) as gateway:
                    async with aiohttp.ClientSession() as http:
                        yield Bench(gateway, http, batch, program)


def _peak_mb(gateway: Gateway) -> float:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM:"))


def _cpu_seconds(gateway: Gateway) -> float:
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _print(options: argparse.Namespace) -> None:
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    async with running(options.tasks) as bench:
        for line in ((f"{options.tasks:,} tasks on Azure Batch's double", "tesgw", "aim"), ("---", "---", "---")):
            print("| " + " | ".join(line) + " |", flush=True)
        async for row in bench.measure(options.tasks, options.finished):
            print("| " + " | ".join(row) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-batch", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="that run at once (%(default)s)")
    parser.add_argument("--finished", type=int, default=50, help="how many of them finish one at a time (%(default)s)")
    asyncio.run(_print(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
