"""What the runner sees, written to the status document while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from azure.core.exceptions import AzureError

from tesgw import Observation
from tesgw.runner.settle import settled
from tesgw.states import TERMINAL
from tesgw_batch.claims import Claim, Lost
from tesgw_batch.documents import Report

log = logging.getLogger(__name__)

REPORT_SECONDS = 2.0


class Reports:
    """Reports changes: those of the state at once, others at most every two seconds. The last word is not among them."""

    def __init__(self, claim: Claim, node: str, observe: Callable[[], Observation]) -> None:
        self._claim = claim
        self._node = node
        self._observe = observe
        self._told = observe()
        self._told_at = -REPORT_SECONDS
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """There is something new to observe."""
        self._changed.set()

    async def run(self) -> None:
        """Report until the end, or until nobody takes it any more. Once cancelled, nothing is on its way."""
        while True:
            await self._news()
            observation = self._observe()
            if observation.state in TERMINAL:
                return
            try:
                # Not left half done: it must not come after the last word.
                await settled(self._claim.write(Report(node=self._node, observation=observation)))
            except Lost:
                return
            except AzureError as error:
                log.warning("report not written", extra={"error": type(error).__name__})
                await asyncio.sleep(REPORT_SECONDS)
                self._changed.set()
            else:
                self._told, self._told_at = observation, _now()

    async def _news(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            pause = self._told_at + REPORT_SECONDS - _now()
            if pause <= 0 or self._observe().state is not self._told.state:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            self._changed.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
