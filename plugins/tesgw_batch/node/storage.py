"""The attempt's documents in blob storage, by signed URLs, for as long as it takes to reach them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobClient, LinearRetry

from tesgw.loops import Backoff
from tesgw.runner.transfer.azure import Place

T = TypeVar("T")

PATIENCE_SECONDS = 300.0


class Document:
    """A blob whose signature can be replaced. Requests are given up soon: there is a lease to keep."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        place = Place.of(url)
        self._signature = AzureSasCredential(place.signature)
        self.blob = BlobClient(
            place.account,
            place.container,
            place.name,
            credential=self._signature,
            transport=AioHttpTransport(session=session, session_owner=False),
            retry_policy=LinearRetry(backoff=1, retry_total=2, random_jitter_range=1),
            connection_timeout=5,
            read_timeout=10,
        )

    async def load(self) -> bytes:
        return await (await self.blob.download_blob()).readall()

    def renew(self, url: str) -> None:
        """Use this URL's signature from now on."""
        self._signature.update(Place.of(url).signature)


def may_pass(error: Exception) -> bool:
    """Whether asking again may help."""
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return error.status_code >= 500 or error.status_code in (408, 429)
    return isinstance(error, AzureError)


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` returns, tried for some minutes while the storage is out of reach; it has to bear repetition."""
    clock = asyncio.get_running_loop().time
    deadline, backoff = clock() + PATIENCE_SECONDS, Backoff(0.5, 15)
    while True:
        try:
            return await attempt()
        except AzureError as error:
            if not may_pass(error) or clock() > deadline:
                raise
        await asyncio.sleep(backoff.pause())
