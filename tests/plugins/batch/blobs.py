"""The blob storage that tests share."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import dataclass

from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import ContainerClient

ACCOUNT = "devaccount"
KEY = base64.b64encode(b"a key for tests").decode()


@dataclass(frozen=True, slots=True)
class Blobs:
    """An account of an emulator that runs as long as the tests; `url` ends in its name."""

    url: str
    account: str = ACCOUNT
    key: str = KEY

    @property
    def credential(self) -> AzureNamedKeyCredential:
        return AzureNamedKeyCredential(self.account, self.key)

    def container(self, name: str) -> ContainerClient:
        return ContainerClient(self.url, name, self.credential)

    def signed(self, container: str, permissions: str = "racwdl", blob: str = "") -> str:
        """The URL of a container, or of a blob in it, signed with these rights to all that the container holds."""
        query = generate_container_sas(
            self.account,
            container,
            self.key,
            permission=ContainerSasPermissions.from_string(permissions),
            expiry=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
        )
        return f"{self.url}/{container}{blob and f'/{blob}'}?{query}"
