"""Who may run an attempt: the one that made its status document, for as long as it keeps the lease on it.

A lease that somebody else wants is broken, which is how he says so: it cannot be renewed from then on. Its holder stops
what it runs and releases it; one that cannot be reached has to have stopped by itself before the lease would have ended
(https://learn.microsoft.com/rest/api/storageservices/lease-blob). So two never run the same attempt.
"""

from __future__ import annotations

import asyncio
import contextlib

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import StorageErrorCode
from azure.storage.blob.aio import BlobClient, BlobLeaseClient

from tesgw_batch.documents import Report, decode, encode

LOOK_SECONDS = 0.5


class Lost(Exception):
    """The lease belongs to somebody else, or its document is gone."""


class Claim:
    """The lease that this process holds on a status document. All methods raise what the SDK raises, but as they say."""

    def __init__(self, blob: BlobClient, lease: BlobLeaseClient) -> None:
        self._blob = blob
        self._lease = lease

    async def renew(self) -> None:
        """Keep it for as long again. Raises `Lost`."""
        try:
            await self._lease.renew()
        except (ResourceExistsError, ResourceNotFoundError) as error:
            raise Lost from error

    async def write(self, report: Report) -> None:
        """Replace the document. Raises `Lost`. While a lease is being broken its holder may still write."""
        try:
            await self._blob.upload_blob(encode(report), overwrite=True, lease=self._lease)
        except HttpResponseError as error:
            if error.status_code in (404, 409, 412):
                raise Lost from error
            raise

    async def release(self) -> None:
        """Give it back; again, or after it was lost: nothing."""
        with contextlib.suppress(ResourceExistsError, ResourceNotFoundError):
            await self._lease.release()


async def create(blob: BlobClient, report: Report) -> bool:
    """Make the status document. False if there is one already: the attempt is somebody else's."""
    try:
        await blob.upload_blob(encode(report), overwrite=False)
    except ResourceExistsError:
        # The SDK repeats a request whose answer was lost, and is then told of the document that it made itself.
        return bool(await (await blob.download_blob()).readall() == encode(report))
    return True


async def acquire(blob: BlobClient, seconds: int) -> Claim:
    """Take the lease of a document that nobody holds. Raises `Lost`."""
    lease = BlobLeaseClient(blob)
    try:
        await lease.acquire(lease_duration=seconds)
    except (ResourceExistsError, ResourceNotFoundError) as error:
        raise Lost from error
    return Claim(blob, lease)


async def take(blob: BlobClient, seconds: int) -> Claim:
    """Break the lease, and take it once its holder has or must have stopped. Raises `Lost` if the document is gone."""
    while True:
        try:
            await BlobLeaseClient(blob).break_lease()
        except ResourceNotFoundError as error:
            raise Lost from error
        except ResourceExistsError as error:
            # The SDK sets the code beside what it declares (12.31).
            if error.error_code != StorageErrorCode.LEASE_NOT_PRESENT_WITH_LEASE_OPERATION:  # type: ignore[attr-defined]
                raise
        try:
            return await acquire(blob, seconds)
        except Lost:
            await asyncio.sleep(LOOK_SECONDS)


async def read(blob: BlobClient) -> Report:
    """The document as it is. Raises ResourceNotFoundError, or `msgspec.DecodeError` for one that somebody else wrote."""
    return decode(await (await blob.download_blob()).readall(), Report)
