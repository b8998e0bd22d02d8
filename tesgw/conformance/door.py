"""A door in front of an HTTP service, for harnesses: bytes pass both ways, unless a fault is in the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from tesgw.conformance.harness import Fault

SLOW_SECONDS = 2.0
REFUSALS = {
    Fault.THROTTLED: ("429 Too Many Requests", "too many requests"),
    Fault.REFUSING: ("500 Internal Server Error", "driver failed: no space left on device"),
}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Door:
    """Leads to where `there` connects to: an HTTP server."""

    url: str
    """Where it is open: `unix://PATH` or `http://HOST:PORT`."""

    def __init__(self, there: Callable[[], Awaitable[Streams]]) -> None:
        self._there = there
        self._fault: Fault | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self, path: Path | None = None) -> None:
        """Listen on a Unix socket, or else on a free port of the loopback address."""
        if path:
            self._server: asyncio.Server = await asyncio.start_unix_server(self._enter, path)
            self.url = f"unix://{path}"
        else:
            self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
            self.url = "http://127.0.0.1:{1}".format(*self._server.sockets[0].getsockname())

    async def close(self) -> None:
        self._server.close()
        await self._throw_out()

    async def stand(self, fault: Fault | None) -> None:
        """Have this fault from now on, or none. Whoever is inside is thrown out, unless it only gets slow."""
        self._fault = fault
        if fault not in (None, Fault.SLOW):
            await self._throw_out()

    async def _throw_out(self) -> None:
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        task.add_done_callback(lambda _: writer.close())  # also of one that was cancelled before it began

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self._fault in REFUSALS:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_refusal(*REFUSALS[self._fault]))
                await writer.drain()
            elif self._fault is not Fault.DOWN:
                there, back = await self._there()
                with contextlib.closing(back):
                    await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._fault is Fault.SLOW:
                await asyncio.sleep(SLOW_SECONDS / 2)  # there and back
            writer.write(data)
            await writer.drain()
        writer.close()


def _refusal(status: str, message: str) -> bytes:
    body = json.dumps({"message": message})
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()
