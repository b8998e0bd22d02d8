"""A socket in front of another one: bytes pass both ways, unless a fault is in the way. For the conformance suite."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

from tesgw.conformance import Fault

SLOW_SECONDS = 2.0
REFUSALS = {
    Fault.THROTTLED: ("429 Too Many Requests", "too many requests"),
    Fault.REFUSING: ("500 Internal Server Error", "driver failed: no space left on device"),
}


class Door:
    """Leads from `path` to the socket at `there`."""

    def __init__(self, path: Path, there: str) -> None:
        self.url = f"unix://{path}"
        self._path = path
        self._there = there
        self._fault: Fault | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._enter, self._path)

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
                there, back = await asyncio.open_unix_connection(self._there)
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
