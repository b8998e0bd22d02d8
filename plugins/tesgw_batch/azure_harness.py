"""The conformance suite's test world of a real Batch account: `make azure-smoke`. It has no faults to switch on.

The account, and all else, is what the gateway's settings in the environment say. What the suite makes there is deleted at
its end, and carries the name of one container, which `start` prints.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ResourceNotFoundError
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob.aio import ContainerClient

from tesgw import Resources
from tesgw.conformance import Harness
from tesgw.errors import SettingsError
from tesgw.settings import PREFIX, load
from tesgw.settings import SETTINGS as CORE
from tesgw_batch import claims, sizes
from tesgw_batch.client import Batch
from tesgw_batch.documents import ORDERS, SECRETS, STATUS
from tesgw_batch.mapping import Plan
from tesgw_batch.settings import SETTINGS, required, storage_url

HOST = "TESGW_SMOKE_HOST"
"""The address of this machine by which nodes reach it: the suite serves files there."""
SHARE = "TESGW_SMOKE_SHARE"
"""The directory where this machine has the file share mounted."""
_SHARED = ("STORAGE_ACCOUNT_KEY", "BATCH_STORAGE_FILESHARE_NAME")  # without these tasks have no shared directory


class AzureHarness(Harness):
    """What runs is told by the documents in storage and the leases on them: nodes are out of sight."""

    image: ClassVar[str] = "busybox:latest"
    patience_seconds: ClassVar[float] = 1800.0  # the first task waits for Azure to make its node
    most_tasks: ClassVar[int] = 20
    storage_host: ClassVar[str] = os.environ.get(HOST, "")

    def __init__(self) -> None:
        self._settings = {**load((*CORE, *SETTINGS), backend="batch")}
        self._settings["BATCH_STORAGE_TMP_CONTAINER_NAME"] = f"tesgw-smoke-{secrets.token_hex(6)}"

    def check(self) -> None:
        """SettingsError names what is missing in the environment."""
        names = [*required(self._settings), *(name for name in _SHARED if not self._settings[name])]
        missing = [f"{PREFIX}{name}" for name in names] + [name for name in (HOST, SHARE) if not os.environ.get(name)]
        if missing:
            raise SettingsError(f"To try a Batch account the environment has to have {', '.join(missing)}.")

    async def start(self) -> None:
        self.check()
        self._plan = Plan.of(self._settings)
        size = sizes.choose(Resources(), spot=False, allowed=self._plan.sizes)
        type(self).zones = (self._plan.region,)
        type(self).provision_request = {"vm_size": size.name, "preemptible": False}
        async with AsyncExitStack() as opened:
            account, key = (self._settings[f"STORAGE_ACCOUNT_{part}"] for part in ("NAME", "KEY"))
            name = self._settings["BATCH_STORAGE_TMP_CONTAINER_NAME"]
            storage = ContainerClient(storage_url(self._settings), name, {"account_name": account, "account_key": key})
            self._container = await opened.enter_async_context(storage)
            self._batch = Batch(self._settings["BATCH_ACCOUNT_URL"], await self._credential(opened))
            opened.push_async_callback(self._batch.close)
            opened.push_async_callback(self._delete)
            self._opened = opened.pop_all()
        print(f"\ncontainer {name}, pools and jobs {self._plan.prefix}*", flush=True)

    async def _credential(self, opened: AsyncExitStack) -> Any:
        if key := self._settings["BATCH_ACCOUNT_KEY"]:
            return AzureNamedKeyCredential(self._settings["BATCH_ACCOUNT_NAME"], key)
        return await opened.enter_async_context(DefaultAzureCredential())

    async def stop(self) -> None:
        await self._opened.aclose()

    async def _delete(self) -> None:
        """All that gateways made, for it costs money."""
        for job in await self._batch.jobs(self._plan.prefix):
            await self._batch.delete_job(job.id)
        for pool in await self._batch.pools(self._plan.prefix):
            await self._batch.delete_pool(pool.id)
        with suppress(ResourceNotFoundError):
            await self._container.delete_container()

    def settings(self, directory: Path) -> Mapping[str, Any]:
        return {**self._settings, "LOCAL_WORK_DIR": directory}

    def shared_global(self, directory: Path) -> Path:
        return Path(os.environ[SHARE])

    async def running(self, job_id: str) -> int:
        blob = self._container.get_blob_client(STATUS + job_id)
        try:
            lease = (await blob.get_blob_properties()).lease
            seen = (await claims.read(blob)).observation
        except ResourceNotFoundError:
            return 0
        runs = any(log.start_time and log.exit_code is None for log in seen.executors)
        return int(runs and lease.state in ("leased", "breaking"))

    async def left(self, directory: Path, job_id: str) -> Sequence[str]:
        names = [prefix + job_id for prefix in (ORDERS, STATUS, SECRETS)]
        return [name for name in names if await self._container.get_blob_client(name).exists()]
