"""What the API benchmarks ask: the gateway with a backend that accepts and never runs, or a handler that does nothing.

Both are served alike: `python -m benchmarks.serve gateway --data DIR` and `python -m benchmarks.serve nothing`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from tesgw import BackendContext, BackendSpec, Handle, Job, Layout, Observation, State, Task, hookimpl
from tesgw.app import create_app
from tesgw.settings import SETTINGS, of_values

HOST = "127.0.0.1"


class Never(BackendSpec):
    """Takes every job and runs none."""

    @hookimpl
    async def filesystem_layout(self, ctx: BackendContext, task: Task) -> Layout:
        return Layout()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        return Handle(job.id)

    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        return [Observation(handle=handle, state=State.QUEUED) for handle in handles]

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        return None

    @hookimpl
    async def provision(
        self, ctx: BackendContext, request: Mapping[str, Any], report: Callable[[str], None]
    ) -> Mapping[str, str]:
        return {}


async def gateway(data: Path) -> web.Application:
    """The gateway whose database is in `data`, and which runs nothing."""
    settings = of_values(SETTINGS, {"COMPUTE_BACKEND": "never", "LOCAL_WORK_DIR": data})
    return await create_app(settings, host=HOST, specs={"never": Never})


def nothing() -> web.Application:
    """Answers `/{size}` with so many ready bytes, and does nothing else; of a POST it reads the body."""

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            await request.read()
        return web.Response(body=_body(int(request.match_info["size"])), content_type="application/json")

    app = web.Application(client_max_size=2**25)
    app.router.add_route("*", "/{size}", answer)
    return app


@cache
def _body(size: int) -> bytes:
    return b" " * size


async def serve(options: argparse.Namespace) -> None:
    app = await gateway(options.data) if options.what == "gateway" else nothing()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, options.port)
    await site.start()
    print(f"http://{HOST}:{runner.addresses[0][1]}", flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await runner.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("gateway", "nothing"))
    parser.add_argument("--data", type=Path, default=Path("tesgw-data"))
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
