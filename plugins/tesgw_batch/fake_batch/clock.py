"""The double's time: the real one, moved forward as often as somebody likes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class Clock:
    """All that the double waits for goes by it, but for processes, which run in real time."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._turned = asyncio.Event()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        """Turn it; what is due by then happens as soon as the caller awaits something."""
        self._ahead += timedelta(seconds=seconds)
        self._turned.set()
        self._turned = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        due = self.now() + timedelta(seconds=seconds)
        while (left := (due - self.now()).total_seconds()) > 0:
            turned = self._turned
            try:
                async with asyncio.timeout(left):
                    await turned.wait()
            except TimeoutError:
                pass
