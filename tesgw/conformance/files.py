"""The storage that the suite's tasks use: an HTTP server on loopback that keeps files in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple
from urllib.parse import quote

from aiohttp import web


class Hold(NamedTuple):
    """A file that nobody gets now."""

    is_met: asyncio.Event
    is_over: asyncio.Event


class FileServer:
    """Answers GET with ranges, as file servers do, and takes PUT. Names are paths without a leading slash."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._files: dict[str, bytes] = {}
        self._written: set[str] = set()
        self._held: dict[str, Hold] = {}
        self._runner: web.AppRunner | None = None
        self.reads: Counter[str] = Counter()
        """How often each file was asked for from its beginning."""

    async def start(self) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/{name:(?s:.+)}", self._get)
        app.router.add_put("/{name:(?s:.+)}", self._put)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0).start()

    async def stop(self) -> None:
        for name in list(self._held):
            self.release(name)
        if self._runner:
            await self._runner.cleanup()

    def put(self, name: str, content: bytes) -> str:
        """Add a file; its URL."""
        self._files[name] = content
        return self.url(name)

    def url(self, name: str) -> str:
        assert self._runner
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/{quote(name)}"

    def below(self, prefix: str) -> dict[str, bytes]:
        """The files that clients wrote, by what follows the prefix in their names."""
        names = [name for name in self._written if name.startswith(prefix)]
        return {name.removeprefix(prefix): self._files[name] for name in sorted(names)}

    def hold(self, name: str) -> None:
        """Answer nobody who asks for this file or sends it, until `release`."""
        self._held[name] = Hold(asyncio.Event(), asyncio.Event())

    async def held_up(self, name: str) -> None:
        """Wait until somebody has asked for a held file, or sends it."""
        await self._held[name].is_met.wait()

    def release(self, name: str) -> None:
        self._held.pop(name).is_over.set()

    async def _let_in(self, name: str) -> None:
        if hold := self._held.get(name):
            hold.is_met.set()
            await hold.is_over.wait()

    async def _get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._let_in(name)
        if name not in self._files:
            raise web.HTTPNotFound
        content, part = self._files[name], request.http_range
        if part.start:
            return web.Response(status=206, body=content[part], headers=_range_of(part, len(content)))
        self.reads[name] += 1
        return web.Response(body=content, headers={"Accept-Ranges": "bytes"})

    async def _put(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        content = await request.read()
        await self._let_in(name)
        self._files[name] = content
        self._written.add(name)
        return web.Response(status=201)


def _range_of(part: slice, size: int) -> dict[str, str]:
    return {"Content-Range": f"bytes {part.start}-{min(part.stop or size, size) - 1}/{size}"}
