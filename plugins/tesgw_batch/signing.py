"""Signed URLs of the storage account: for the gateway's own documents, and for blobs that tasks name without a signature."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.storage.blob import (
    BlobSasPermissions,
    ContainerSasPermissions,
    UserDelegationKey,
    generate_blob_sas,
    generate_container_sas,
)
from azure.storage.blob.aio import BlobServiceClient

from tesgw import BackendRefused, BackendUnavailable, FileType, Job

READ = "r"
READ_BELOW = "rl"
WRITE = "cw"

# Clocks differ (https://learn.microsoft.com/azure/storage/common/storage-sas-overview#best-practices-when-using-sas).
SKEW = dt.timedelta(minutes=15)
KEY_LIFE = dt.timedelta(days=30)
# Azure gives no delegation key for more than 7 days of its own clock.
DELEGATION_LIFE = dt.timedelta(days=7) - SKEW

# https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*|\$(root|web|logs)")


@dataclass(frozen=True, slots=True)
class _Key:
    """What signs, and until when what it signs holds."""

    account_key: str | None
    delegation: UserDelegationKey | None
    expiry: dt.datetime


@dataclass(slots=True)
class _Grant:
    """What a task may do with a URL."""

    container: str
    blob: str
    permissions: str = ""
    is_below: bool = False
    """Not with this blob, but with all whose names go on from here."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Signer:
    """Signs URLs of one storage account, with its key or with a delegation key that Azure gives the credential's identity.

    `url` is the account's blob endpoint; `reserved` the container that no task may name, for the gateway's own documents of
    all tasks are there; `connection_verify` the file of a CA to trust instead of the usual ones. Signing raises
    `BackendUnavailable` while no delegation key can be had.
    """

    def __init__(
        self,
        url: str,
        account: str,
        credential: str | AsyncTokenCredential,
        *,
        reserved: str,
        connection_verify: bool | str = True,
        now: Callable[[], dt.datetime] = _now,
    ) -> None:
        self._url = url.rstrip("/")
        self._account = account
        self._credential = credential
        self._reserved = reserved
        self._connection_verify = connection_verify
        self._now = now
        self._delegation: _Key | None = None
        self._asking = asyncio.Lock()

    @property
    def lifetime_seconds(self) -> float:
        """How long at least a signature holds from now."""
        return (KEY_LIFE if isinstance(self._credential, str) else DELEGATION_LIFE / 2).total_seconds()

    async def sign(self, container: str, blob: str, permissions: str) -> str:
        """The blob's URL with the right to do this, in Azure's letters (`r`ead, `c`reate, `w`rite, `d`elete …)."""
        key = await self._key()
        query = generate_blob_sas(
            self._account,
            container,
            blob,
            account_key=key.account_key,
            user_delegation_key=key.delegation,
            permission=BlobSasPermissions.from_string(permissions),
            start=self._now() - SKEW,
            expiry=key.expiry,
        )
        return f"{self._plain(container, blob)}?{query}"

    async def sign_directory(self, container: str, prefix: str, permissions: str = READ_BELOW) -> str:
        """A URL that blobs' names below `prefix` are put together from; its signature holds in the whole container."""
        key = await self._key()
        query = generate_container_sas(
            self._account,
            container,
            account_key=key.account_key,
            user_delegation_key=key.delegation,
            permission=ContainerSasPermissions.from_string(permissions),
            start=self._now() - SKEW,
            expiry=key.expiry,
        )
        return f"{self._plain(container, prefix)}?{query}"

    async def signed(self, job: Job) -> Mapping[str, str]:
        """By URL of the task, as it is written there: the signed URL, for every blob and directory of this account.

        Inputs may be read, directories listed, outputs created and replaced. Raises `BackendRefused` as `resolve` does.
        """
        return {url: await self._sign(grant) for url, grant in self._grants(job).items()}

    def resolve(self, url: str) -> tuple[str, str] | None:
        """The container and the blob that a task means; None if it is not in this account or needs no signature of ours.

        `az://` with or without the account, and Cromwell's bare path `/ACCOUNT/CONTAINER/BLOB`, are URLs of the account too.
        Raises `BackendRefused` for the reserved container, and for names that might lead there.
        """
        try:
            below = self._below(url)
            if below is None:
                return None
            below.encode()
        except UnicodeError as error:
            raise BackendRefused(f"The URL {url!r} is not UTF-8.") from error
        container, _, blob = below.partition("/")
        self._check(url, container, blob)
        return container, blob

    def _check(self, url: str, container: str, blob: str) -> None:
        if container.lower() == self._reserved.lower():
            raise BackendRefused(f"No task may use the container {self._reserved} of {url!r}: it is the gateway's own.")
        if not _CONTAINER.fullmatch(container):
            raise BackendRefused(f"The URL {url!r} names no blob container: {container!r} cannot be one's name.")
        if {".", ".."} & set(re.split(r"[/\\]", blob)):
            raise BackendRefused(f"The URL {url!r} has . or .. in its path.")

    def _below(self, url: str) -> str | None:
        """What the URL says below this account, as `CONTAINER/BLOB`. Raises UnicodeError."""
        if url.startswith(f"/{self._account}/"):
            return url.removeprefix(f"/{self._account}/")  # a path, not a URL: nothing in it is quoted
        parts, own = _split(url), urlsplit(self._url)
        if parts is None or parts.query or parts.fragment:
            return None
        if parts.scheme == "az":
            path = f"{parts.netloc}{parts.path}"
            account, _, rest = path.partition("/")
            return unquote(rest if account.lower() == self._account else path, errors="strict")
        if _origin(parts) != _origin(own) or not parts.path.startswith(f"{own.path}/"):
            return None
        return unquote(parts.path.removeprefix(f"{own.path}/"), errors="strict")

    def _grants(self, job: Job) -> dict[str, _Grant]:
        grants: dict[str, _Grant] = {}
        for input in job.inputs:
            if input.url and not input.content and not input.in_place:
                is_below = input.type is FileType.DIRECTORY
                self._grant(grants, input.url, READ_BELOW if is_below else READ, is_below, needs_name=not is_below)
        for output in job.outputs:
            if not output.in_place:
                is_file = output.type is FileType.FILE and output.path_prefix is None
                # Below it in any case: engines declare directories as FILE.
                self._grant(grants, output.url, WRITE, True, needs_name=is_file)
        return grants

    def _grant(self, grants: dict[str, _Grant], url: str, permissions: str, is_below: bool, *, needs_name: bool) -> None:
        resolved = self.resolve(url)
        if resolved is None:
            return
        if needs_name and not resolved[1]:
            raise BackendRefused(f"The URL {url!r} names a container, not a blob in it.")
        grant = grants.setdefault(url, _Grant(*resolved))
        grant.permissions += permissions
        grant.is_below |= is_below

    async def _sign(self, grant: _Grant) -> str:
        sign = self.sign_directory if grant.is_below else self.sign
        return await sign(grant.container, grant.blob, grant.permissions)

    def _plain(self, container: str, blob: str) -> str:
        return f"{self._url}/{quote(f'{container}/{blob}' if blob else container, safe='/~')}"

    async def _key(self) -> _Key:
        if isinstance(self._credential, str):
            return _Key(self._credential, None, self._now() + KEY_LIFE)
        async with self._asking:
            if self._delegation is None or self._delegation.expiry - self._now() < DELEGATION_LIFE / 2:
                self._delegation = await self._delegated(self._credential)
            return self._delegation

    async def _delegated(self, credential: AsyncTokenCredential) -> _Key:
        expiry = self._now() + DELEGATION_LIFE
        try:
            async with BlobServiceClient(self._url, credential, connection_verify=self._connection_verify) as client:
                return _Key(None, await client.get_user_delegation_key(self._now() - SKEW, expiry), expiry)
        except AzureError as error:
            raise BackendUnavailable(
                f"The storage account {self._account} gives the gateway's identity no key to sign URLs with; the identity "
                "needs the role Storage Blob Delegator."
            ) from error


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError
    except ValueError:
        return None
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None, str | None]:
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme), parts.username
