"""The gateway's container of documents: orders, status documents and secrets, by job id."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

import msgspec
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.pipeline.policies import ContentDecodePolicy
from azure.storage.blob.aio import BlobClient, BlobLeaseClient, ContainerClient

from tesgw import BackendUnavailable
from tesgw_batch import claims
from tesgw_batch.documents import ORDERS, SECRETS, STATUS, Order, Report, Secrets, encode
from tesgw_batch.mapping import Need

T = TypeVar("T")

ANSWER_SECONDS = 20.0  # less than a hook may take


@dataclass(frozen=True, slots=True)
class Label:
    """What is written on an order, so that a list of orders tells it."""

    need: Need
    shown: str
    """The display name of the Batch task."""
    signed_at: float

    def as_metadata(self) -> dict[str, str]:
        """In one value, for an empty one is dropped on the way, and of ASCII, for it travels in a header."""
        return {"label": quote(json.dumps(asdict(self)))}

    @classmethod
    def of_metadata(cls, found: Mapping[str, str] | None) -> Label | None:
        """None for what is no order of ours."""
        try:
            return msgspec.json.decode(unquote((found or {})["label"]), type=cls)
        except (KeyError, msgspec.DecodeError):
            return None


class Sign(NamedTuple):
    """What a list of status documents tells of one."""

    etag: str
    is_expired: bool
    """Its runner let the lease end."""


class Archive:
    """Methods raise `BackendUnavailable` if storage does not answer, or not as it should; all may be repeated."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    async def open(self) -> None:
        """Make the container, if it is missing."""
        with contextlib.suppress(ResourceExistsError), _translated():
            await self._in_time(self._container.create_container())

    async def close(self) -> None:
        await self._container.close()

    def status(self, job_id: str) -> BlobClient:
        """For claims."""
        return self._container.get_blob_client(STATUS + job_id)

    @property
    def container(self) -> str:
        return str(self._container.container_name)

    async def orders(self) -> dict[str, Label]:
        """All orders."""
        found = self._list(ORDERS, include=["metadata"])
        return {name: label async for name, blob in found if (label := Label.of_metadata(blob.metadata))}

    async def put(self, order: Order, label: Label) -> None:
        with _translated():
            blob = self._container.get_blob_client(ORDERS + order.job.id)
            await self._in_time(blob.upload_blob(encode(order), overwrite=True, metadata=label.as_metadata()))

    async def order(self, job_id: str) -> bytes | None:
        """An order's document, if there is one."""
        with _translated():
            try:
                return await self._in_time(self._read(ORDERS + job_id))
            except ResourceNotFoundError:
                return None

    async def put_secrets(self, job_id: str, secrets: Secrets) -> None:
        with _translated():
            blob = self._container.get_blob_client(SECRETS + job_id)
            await self._in_time(blob.upload_blob(encode(secrets), overwrite=True))

    async def etags(self) -> dict[str, Sign]:
        """By job id, what changes when a status document does, and whether it is held. One call tells of 5000."""
        pages: list[Any] = []
        # The SDK makes so much of each blob (12.31) that 10,000 of them would stop the gateway for seconds, each time.
        # Its list of names it does not make much of, and what it was told with each name is in the answers.
        with _translated():
            async for _ in self._container.list_blob_names(name_starts_with=STATUS, raw_response_hook=pages.append):
                pass
        answers = (page.context for page in pages if page.http_response.status_code == 200)
        return {name: sign for answer in answers for name, sign in _signs(answer)}

    async def report(self, job_id: str) -> Report | None:
        """A status document, if there is one. Raises `msgspec.DecodeError` for what is none."""
        with _translated():
            try:
                return await self._in_time(claims.read(self.status(job_id)))
            except ResourceNotFoundError:
                return None

    async def delete(self, job_id: str) -> None:
        """Remove all documents of a job: the order before the status, so that a runner that claims it late finds it gone."""
        with _translated():
            for name in (ORDERS + job_id, SECRETS + job_id, STATUS + job_id):
                with contextlib.suppress(ResourceNotFoundError):
                    await self._in_time(self._delete(self._container.get_blob_client(name)))

    async def _delete(self, blob: BlobClient) -> None:
        try:
            await blob.delete_blob()
        except HttpResponseError as error:
            if error.status_code != 412:
                raise
            # Its runner has said the last word, and is about to release the lease.
            with contextlib.suppress(ResourceExistsError):  # just now it did
                await BlobLeaseClient(blob).break_lease(lease_break_period=0)
            await blob.delete_blob()

    async def _read(self, name: str) -> bytes:
        return bytes(await (await self._container.download_blob(name)).readall())

    async def _list(self, prefix: str, **options: Any) -> AsyncIterator[tuple[str, Any]]:
        with _translated():
            async for blob in self._container.list_blobs(name_starts_with=prefix, **options):
                yield blob.name.removeprefix(prefix), blob

    async def _in_time(self, answer: Awaitable[T]) -> T:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await answer


def _signs(answer: Mapping[str, Any]) -> Iterator[tuple[str, Sign]]:
    for blob in answer[ContentDecodePolicy.CONTEXT_NAME].iter("Blob"):
        properties = blob.find("Properties")
        sign = Sign(properties.findtext("Etag"), properties.findtext("LeaseState") == "expired")
        yield blob.findtext("Name").removeprefix(STATUS), sign


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ResourceExistsError:
        raise
    except (AzureError, TimeoutError) as error:
        raise unavailable(error) from error


def unavailable(error: Exception) -> BackendUnavailable:
    """The sentence for a storage account that does not do what it is asked; never with a URL, which may be signed."""
    if isinstance(error, ClientAuthenticationError) or getattr(error, "status_code", None) == 403:
        return BackendUnavailable(
            "Azure Storage refuses the gateway's credentials: see STORAGE_ACCOUNT_NAME, STORAGE_ACCOUNT_KEY and the roles "
            "of its identity."
        )
    if isinstance(error, HttpResponseError):
        code = getattr(error, "error_code", None) or error.reason
        return BackendUnavailable(f"Azure Storage cannot answer now: {error.status_code} {getattr(code, 'value', code)}.")
    return BackendUnavailable(f"Azure Storage cannot be reached: {type(error).__name__}.")
