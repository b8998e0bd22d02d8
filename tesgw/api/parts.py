"""A body in parts, sent as they are: to join a page of a megabyte would cost a third of what sending it does."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter


class JsonParts(payload.Payload):
    """JSON as bytes that belong one behind the other."""

    _value: Sequence[bytes]

    def __init__(self, parts: Sequence[bytes]) -> None:
        super().__init__(parts, content_type="application/json")
        self._size = sum(map(len, parts))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for part in self._value:
            await writer.write(part)
