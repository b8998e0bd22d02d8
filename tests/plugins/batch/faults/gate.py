"""The way from one gateway and its nodes to a service, and somebody at it who holds up single requests."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

REQUEST = re.compile(rb"[A-Z]+ \S+ HTTP/1\.1\r\n")

Deed = Literal["stop", "stop its answer", "lose its answer"]


@dataclass(eq=False, kw_only=True)
class Rule:
    """What becomes of the next requests whose first line and headers have this in them."""

    pattern: re.Pattern[bytes]
    deed: Deed
    times: int = 1
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """The request is here, or has been carried out: as the deed says."""

    def befalls(self, request: bytes) -> bool:
        if not self.times or not REQUEST.match(request) or not self.pattern.search(request.partition(b"\r\n\r\n")[0]):
            return False
        self.times -= 1
        return True


class Gate:
    """Requests that are stopped never go on: their connections end with whoever made them."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._rules: list[Rule] = []
        self._passing: set[asyncio.Task[None]] = set()
        self._is_shut = False
        self.url = ""
        """As the target's, with this gate's port."""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}{self._target.path}"

    async def close(self) -> None:
        self._server.close()
        await self.shut()

    def rule(self, pattern: str, deed: Deed, times: int = 1) -> Rule:
        rule = Rule(pattern=re.compile(pattern.encode(), re.IGNORECASE), deed=deed, times=times)
        self._rules.append(rule)
        return rule

    async def shut(self) -> None:
        """Whoever is inside is thrown out, and nobody comes in until `reopen`."""
        self._is_shut = True
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def reopen(self) -> None:
        """All is well from now on."""
        self._is_shut = False
        self._rules.clear()

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_shut:
            return
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
            await Connection(self._rules).relay(reader, writer, there, back)


class Connection:
    """One client's: it asks one thing at a time."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._answered: Rule | None = None
        """What to do with the answer that comes next."""

    async def relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        """Returns when either side has enough."""
        ways = [asyncio.create_task(self._ask(reader, back)), asyncio.create_task(self._answer(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _ask(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        is_stopped = False
        while data := await reader.read(1 << 16):
            rule = next((rule for rule in self._rules if rule.befalls(data)), None)
            if rule and rule.deed == "stop":
                is_stopped = True
                rule.came.set()
            elif rule:
                self._answered = rule
            if not is_stopped:
                back.write(data)
                await back.drain()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(1 << 16):
            if self._answered:
                self._answered.came.set()
                if self._answered.deed == "lose its answer":
                    return
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
