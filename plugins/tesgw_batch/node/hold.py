"""Keeping the lease while executors run, and the last word with it."""

from __future__ import annotations

import asyncio
import logging

from azure.core.exceptions import AzureError

from tesgw_batch.claims import Claim, Lost
from tesgw_batch.documents import Report
from tesgw_batch.node.storage import patiently

log = logging.getLogger(__name__)

STOPPING_SECONDS = 10.0
"""Before a lease ends that cannot be renewed, executors are given this long to stop."""
_PAUSE_SECONDS = 0.5


class Hold:
    """A lease just taken, or about to be."""

    def __init__(self, lease_seconds: float) -> None:
        self.is_lost = False
        """Somebody else wants the lease or has it. Else, once `keep` has returned: the storage is out of reach."""
        self._every_seconds = lease_seconds / 12
        self._good_for_seconds = max(lease_seconds - STOPPING_SECONDS, lease_seconds / 2)
        self._good_until = _now() + self._good_for_seconds

    async def keep(self, claim: Claim) -> None:
        """Renew the lease; returns when executors have to stop."""
        try:
            while True:
                async with asyncio.timeout_at(self._good_until):
                    await asyncio.sleep(self._every_seconds)
                    self._good_until = await self._renew(claim) + self._good_for_seconds
        except Lost:
            self.is_lost = True
        except TimeoutError:
            pass

    async def _renew(self, claim: Claim) -> float:
        """When the renewal that succeeded was asked for: the lease lasts from then, or a little longer."""
        while True:
            asked_at = _now()
            try:
                await claim.renew()
            except AzureError as error:
                log.warning("lease not renewed", extra={"error": type(error).__name__})
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return asked_at


async def conclude(claim: Claim, report: Report) -> None:
    """Write the last word, patiently, as long as nobody else has taken the lease. Raises `Lost`."""

    async def attempt() -> None:
        try:
            await claim.write(report)
        except Lost:  # or only ended, which a renewal undoes
            await claim.renew()
            await claim.write(report)

    await patiently(attempt)


def _now() -> float:
    return asyncio.get_running_loop().time()
