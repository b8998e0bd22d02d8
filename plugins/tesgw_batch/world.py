"""What the settings say, connected: the storage account, the Batch account, and the fleet on them."""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from azure.core.credentials import AzureNamedKeyCredential
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob.aio import ContainerClient

from tesgw import BackendContext
from tesgw_batch.archive import Archive
from tesgw_batch.client import Batch
from tesgw_batch.dispatch import Dispatch
from tesgw_batch.fleet import Fleet
from tesgw_batch.mapping import Plan
from tesgw_batch.pools import Pools
from tesgw_batch.settings import storage_url
from tesgw_batch.signing import Signer

if TYPE_CHECKING:
    from tesgw_batch.arm import ArmPools

logging.getLogger("azure").setLevel(logging.WARNING)  # it logs each request, in twenty lines


async def open_fleet(ctx: BackendContext) -> Fleet:
    """Raises `BackendUnavailable` if storage does not answer; asked again, it tries again."""
    settings, plan = ctx.settings, Plan.of(ctx.settings)
    async with AsyncExitStack() as opened:
        identity = DefaultAzureCredential() if _needs_identity(settings) else None
        if identity:
            opened.push_async_callback(identity.close)
            ctx.log.info("Azure is asked with the gateway's own identity")
        key = settings["STORAGE_ACCOUNT_KEY"]
        account = settings["STORAGE_ACCOUNT_NAME"]
        storage: Any = {"account_name": account, "account_key": key} if key else identity
        container = ContainerClient(
            storage_url(settings), settings["BATCH_STORAGE_TMP_CONTAINER_NAME"], credential=storage, retry_total=0
        )
        archive = Archive(container)
        opened.push_async_callback(archive.close)
        batch_key = settings["BATCH_ACCOUNT_KEY"]
        credential = AzureNamedKeyCredential(settings["BATCH_ACCOUNT_NAME"], batch_key) if batch_key else identity
        batch = Batch(settings["BATCH_ACCOUNT_URL"], credential)
        opened.push_async_callback(batch.close)
        arm = _arm(settings, identity) if plan.identity else None
        signer = Signer(storage_url(settings), account, cast(Any, key or identity), reserved=archive.container)
        fleet = Fleet(ctx, plan, archive, signer, partial(Dispatch, batch=batch, pools=Pools(batch, arm, plan, time.time)))
        await fleet.open()
        ctx.on_close(opened.pop_all().aclose)
        return fleet


def _arm(settings: Any, identity: Any) -> ArmPools:
    from tesgw_batch.arm import ArmPools  # takes most of a second, which few gateways need

    return ArmPools(settings["BATCH_ACCOUNT_RESOURCE_ID"], identity)


def _needs_identity(settings: Any) -> bool:
    return not (settings["BATCH_ACCOUNT_KEY"] and settings["STORAGE_ACCOUNT_KEY"] and not settings["BATCH_NODE_IDENTITY"])
